"""Compares what two runs of the same sequences printed, and what they left behind."""

import fnmatch
import hashlib
import os
import stat


def read_transcript(path):
    """Lines by sequence name."""
    found = {}
    lines = []
    with open(path, encoding="utf-8", errors="backslashreplace") as text:
        for line in text:
            line = line.rstrip("\n")
            if line.startswith("== "):
                lines = found[line[3:]] = []
            else:
                lines.append(line)
    return found


def transcripts(plain, mount):
    """What is wrong, as lines for a person; empty when nothing is."""
    if plain is None or mount is None:
        return ["the driver did not come to it"]
    problems = [f"the sequence is wrong: {line}" for line in plain + mount if "!! " in line]
    for number in range(max(len(plain), len(mount))):
        one = plain[number] if number < len(plain) else "(nothing)"
        other = mount[number] if number < len(mount) else "(nothing)"
        if one != other:
            problems += [f"line {number + 1} plain: {shorten(one)}", f"line {number + 1} mount: {shorten(other)}"]
    return problems


def shorten(line):
    return line if len(line) <= 400 else f"{line[:150]} … {line[-240:]}"


def describe(parent, name):
    """One file of the backing directory, as far as it has to be the same on both sides."""
    st = os.stat(name, dir_fd=parent, follow_symlinks=False)
    text = f"{stat.filemode(st.st_mode)} {st.st_uid}:{st.st_gid} nlink={st.st_nlink}"
    if stat.S_ISLNK(st.st_mode):
        return f"{text} -> {os.readlink(name, dir_fd=parent)!r}"
    if not stat.S_ISREG(st.st_mode):
        return text
    return f"{text} size={st.st_size} {digest(parent, name) if st.st_size < 1 << 24 else ''}"


def digest(parent, name):
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)
    with os.fdopen(fd, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def listing(directory):
    """Everything beneath a directory, by descriptors: paths may be longer than PATH_MAX."""
    found = {}
    todo = [("", os.open(directory, os.O_RDONLY | os.O_DIRECTORY))]
    while todo:
        path, fd = todo.pop()
        for name in os.listdir(fd):
            if len(found) < 30000:
                found[f"{path}/{name}"] = describe(fd, name)
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                todo.append((f"{path}/{name}", os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)))
        os.close(fd)
    return found


def trees(plain, mount):
    """What the sequence left in the plain directory and, under the mount, in the backing directory."""
    if not os.path.isdir(plain) or not os.path.isdir(mount):
        return [] if os.path.isdir(plain) == os.path.isdir(mount) else ["no directory is left on one side"]
    one, other = listing(plain), listing(mount)
    problems = []
    for path in sorted(set(one) | set(other)):
        if one.get(path) != other.get(path):
            problems += [f"left behind {path[:200]!r}: plain: {one.get(path, 'nothing')}; "
                         f"mount: {other.get(path, 'nothing')}"]
    return problems


class Differences:
    """The file of inherent differences: PATTERN [backing=FS,…] [mount=WAY,…] : REASON"""

    def __init__(self, path):
        self.entries = []
        self.tried, self.used = set(), set()
        with open(path, encoding="utf-8") as text:
            for line in text:
                if not line.strip() or line.startswith("#"):
                    continue
                head, reason = line.strip().split(" : ", 1)
                pattern, *limits = head.split()
                limits = dict(limit.split("=", 1) for limit in limits)
                self.entries.append((pattern, {key: value.split(",") for key, value in limits.items()}, reason))

    def reason(self, name, backing, way, differs):
        """Why that sequence may differ there, or None."""
        for pattern, limits, reason in self.entries:
            if (fnmatch.fnmatchcase(name, pattern) and backing in limits.get("backing", [backing])
                    and way in limits.get("mount", [way])):
                self.tried.add(pattern)
                if differs:
                    self.used.add(pattern)
                return reason
        return None

    def unused(self):
        """Patterns whose sequences ran and were all the same: no difference any more."""
        return sorted(self.tried - self.used)
