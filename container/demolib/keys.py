"""The rule by which a file's name becomes a key, written down a second time, so that a checker needs nothing of ebbfs.

key = prefix/path, with %XX for each byte that is a control character, not part of well-formed UTF-8, or part of
U+FFFE or U+FFFF; %25 for a % that two upper-case hexadecimal digits follow; %2Eebbfs for a first part .ebbfs.
"""
import re

KEY_MAX = 1024
LITERAL_PERCENT = re.compile(rb"%(?=[0-9A-F]{2})")


def character_length(name, at):
    """Bytes of the character at that place that may stand in a key as they are; 0: this byte may not."""
    for length in range(1, 5):
        try:
            character = name[at:at + length].decode("utf-8")
        except UnicodeDecodeError:
            continue
        code = ord(character)
        return 0 if code < 0x20 or code == 0x7F or code in (0xFFFE, 0xFFFF) else length
    return 0


def escape(name):
    name = LITERAL_PERCENT.sub(b"%25", name)
    out = bytearray()
    at = 0
    while at < len(name):
        length = character_length(name, at)
        out += name[at:at + length] if length else b"%%%02X" % name[at]
        at += length or 1
    return bytes(out)


def key_of(prefix, name):
    """The key as text, or None when it would be longer than S3 takes: such a file is parked."""
    key = escape(name)
    if key.split(b"/", 1)[0] == b".ebbfs":
        key = b"%2E" + key[1:]
    key = prefix.encode() + b"/" + key
    return key.decode() if len(key) <= KEY_MAX else None
