"""What a directory shows, to compare two views of it."""

import hashlib
import os


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def look(path):
    """What is visible of one file; the SHA-256 of its content if it is a regular one."""
    st = os.lstat(path)
    regular = os.path.isfile(path) and not os.path.islink(path)
    target = os.readlink(path) if os.path.islink(path) else ""
    return (oct(st.st_mode), st.st_nlink if regular else 0, st.st_size if regular else 0,
            st.st_mtime_ns if regular else 0, digest(path) if regular else target)


def tree(root):
    """{name: look} of everything below."""
    found = {}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = look(path)
    return found


def regular_files(found):
    """{name: SHA-256} of a tree."""
    return {name: entry[-1] for name, entry in found.items() if entry[0].startswith("0o100")}


def assert_same(mounted, plain):
    for name in sorted(set(mounted) | set(plain)):
        assert mounted.get(name) == plain.get(name), \
            f"{name}: through the mount {mounted.get(name)}, in the plain directory {plain.get(name)}"
