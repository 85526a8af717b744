"""What file-writer puts into a file, from the seed in its manifest: container/file-writer/content.h in Python."""
import hashlib
import struct

BLOCK_WORDS = 512
MASK = (1 << 64) - 1


def block_words(seed):
    words = []
    state = seed
    for _ in range(BLOCK_WORDS):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        word = state
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        words.append(word ^ (word >> 31))
    return words


def content_sha256(seed, size):
    """SHA-256 in hexadecimal of the file that file-writer makes from seed and size."""
    words = block_words(seed)
    tail = struct.pack(f"<{BLOCK_WORDS - 1}Q", *words[1:])
    digest = hashlib.sha256()
    for number in range(size // (BLOCK_WORDS * 8) + 1):
        block = struct.pack("<Q", words[0] ^ number) + tail
        digest.update(block[:size - number * len(block)])
    return digest.hexdigest()


def read_manifest(path):
    """{name relative to the directory, in bytes: SHA-256} of every finished file."""
    files = {}
    try:
        with open(path, "rb") as manifest:
            for line in manifest:
                seed, size, name = line.rstrip(b"\n").split(b" ", 2)
                files[name] = content_sha256(int(seed), int(size))
    except FileNotFoundError:
        pass
    return files
