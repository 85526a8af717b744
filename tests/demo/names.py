#!/usr/bin/python3
"""names.py: the key rule of the demo on a table. names.py make DIR: a tree with names and things that are odd."""
import os
import sys

from keys import key_of

RULE = {
    b"plain": "plain",
    b"a b/c": "a b/c",
    b"line\nfeed\x7f": "line%0Afeed%7F",
    b"\xff\xfe": "%FF%FE",
    "\u00fc\u20ac\U0001f600".encode(): "\u00fc\u20ac\U0001f600",
    b"\xed\xa0\x80": "%ED%A0%80",          # a surrogate
    b"\xf4\x90\x80\x80": "%F4%90%80%80",   # above U+10FFFF
    b"\xc0\xaf": "%C0%AF",                 # overlong
    b"\xe2\x82": "%E2%82",                 # cut off
    "\ufffe\uffff".encode(): "%EF%BF%BE%EF%BF%BF",
    b"%41%4a%%41%": "%2541%4a%%2541%",
    b".ebbfs": "%2Eebbfs",
    b".ebbfs/x": "%2Eebbfs/x",
    b"x/.ebbfs": "x/.ebbfs",
    b".ebbfs2": ".ebbfs2",
}


def check():
    for name, key in RULE.items():
        assert key_of("p", name) == "p/" + key, (name, key_of("p", name))
    assert key_of("p", b"a" * 1022) is not None
    assert key_of("p", b"a" * 1023) is None


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(content)


def make(directory):
    top = os.fsencode(directory) + b"/"
    for name in RULE:
        if b"/" not in name and not name.startswith(b".ebbfs"):
            write(top + name, b"content of " + name)
    write(top + b"n" * 255, b"a long name")
    write(top + b"sp ace+?#&=;:*\"<>|\\~", b"what URLs dislike")
    write(top + b"empty", b"")
    write(top + b"large", os.urandom(9 << 20))
    for depth in range(1, 6):
        write(top + (b"d" * 250 + b"/") * depth + b"file", b"%d" % depth)
    os.link(top + b"plain", top + b"second name")
    os.symlink("/etc/shadow", top + b"symlink")
    os.mkfifo(top + b"fifo")
    os.mknod(top + b"device", 0o20600, os.makedev(1, 3))


if sys.argv[1:2] == ["make"]:
    make(sys.argv[2])
else:
    check()
