"""Reads tests/posix/seq: NAME.seq is text, NAME.py prints such text. A file that is dropped in there is a test."""

import os
import subprocess
import sys


class Sequence:
    """One sequence for one user; its name is FILE/TITLE@USER."""

    def __init__(self, name, lines):
        self.name = name
        self.lines = lines

    def needs_root(self):
        return self.name.endswith("@root") or any(command(line) == "as" for line in self.lines)


def command(line):
    """The command's name, without the process it runs in and the "!"."""
    words = line.split()
    return words[1 if words[0][0] in "@&" and len(words) > 1 else 0].lstrip("!")


def read_text(path):
    if path.endswith(".py"):
        return subprocess.run([sys.executable, path], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    with open(path, encoding="utf-8") as text:
        return text.read()


def parse(stem, text):
    """== TITLE [USER…]: without users, once as root and once as the ordinary user."""
    found = []
    users = []
    lines = []
    for line in text.splitlines():
        if line.startswith("== "):
            title, *users = line[3:].split()
            lines = []
            found += [Sequence(f"{stem}/{title}@{user}", lines) for user in users or ("root", "user")]
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return found


def load(directory):
    found = []
    for name in sorted(os.listdir(directory)):
        stem, extension = os.path.splitext(name)
        if extension in (".seq", ".py"):
            found += parse(stem, read_text(os.path.join(directory, name)))
    names = [s.name for s in found]
    doubles = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if doubles:
        sys.exit(f"two sequences are called {' '.join(sorted(doubles))}")
    return found


def text(listed):
    return "".join(f"== {s.name}\n" + "".join(line + "\n" for line in s.lines) for s in listed)
