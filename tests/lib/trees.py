"""What git, tar and ninja work on: made up, and the same each time."""

import hashlib
import os
import random

COMMITS = 300
SOURCES, TEXTS = 24, 120


def content(name, version=0):
    """Some lines that depend on their name."""
    chance = random.Random(f"{name} {version}")
    return "".join(f"{chance.getrandbits(64):x}\n" for _ in range(chance.randrange(1, 120))).encode()


def fast_import():
    """A history of COMMITS commits over about 400 files, for git fast-import."""
    out = []
    for number in range(COMMITS):
        message = f"commit {number}".encode()
        out.append(b"commit refs/heads/main\ncommitter c <c@example.invalid> %d +0000\ndata %d\n%s\n"
                   % (1600000000 + number, len(message), message))
        for index in range(4):
            name = f"d{(number + index) % 12}/f{(number * 4 + index * 37) % 400}"
            data = content(name, number)
            out.append(b"M 100%s inline %s\ndata %d\n%s\n"
                       % (b"755" if index == 3 else b"644", name.encode(), len(data), data))
        if number % 50 == 0:
            out.append(b"M 120000 inline link%d\ndata 5\nd1/f1\n" % number)
    return b"".join(out) + b"done\n"


def make_tree(path):
    """Directories, files from empty to 300 KB, links of both kinds, modes, times, an xattr, a sparse file, a fifo."""
    for folder in range(10):
        directory = os.path.join(path, f"folder {folder}", "deeper")
        os.makedirs(directory)
        for number in range(30):
            name = os.path.join(directory if number % 2 else os.path.dirname(directory), f"file-{number}")
            with open(name, "wb") as file:
                file.write(content(name[len(path):]) * (number % 5) ** 2)
            os.chmod(name, [0o644, 0o600, 0o755, 0o440][number % 4])
            os.utime(name, ns=(10 ** 18 + number, 1500000000123456789 + number))
        os.symlink("file-2", os.path.join(os.path.dirname(directory), "symbolic"))
        os.link(name, os.path.join(directory, "second name"))
        os.setxattr(name, "user.test", b"value %d" % folder)
    with open(os.path.join(path, "sparse"), "wb") as file:
        file.truncate(1 << 20)
        os.pwrite(file.fileno(), b"end", (1 << 20) - 3)
    os.mkfifo(os.path.join(path, "fifo"))


def make_project(path):
    """C files and texts to be built by ninja: many short processes, many small files, each made under another name first."""
    os.makedirs(os.path.join(path, "source"))
    for number in range(SOURCES):
        with open(os.path.join(path, "source", f"s{number}.c"), "w", encoding="ascii") as file:
            file.write(f"int value{number}(void);\nint value{number}(void)\n{{\n\treturn {number};\n}}\n")
    with open(os.path.join(path, "source", "main.c"), "w", encoding="ascii") as file:
        file.write("#include <stdio.h>\n" + "".join(f"int value{number}(void);\n" for number in range(SOURCES)) +
                   "int main(void)\n{\n\tprintf(\"%d\\n\", " +
                   " + ".join(f"value{number}()" for number in range(SOURCES)) + ");\n}\n")
    for number in range(TEXTS):
        with open(os.path.join(path, "source", f"t{number}.txt"), "wb") as file:
            file.write(content(f"text {number}"))
    objects, sums = [f"object/s{number}.o" for number in range(SOURCES)], sorted(f"sums/t{number}" for number in range(TEXTS))
    with open(os.path.join(path, "build.ninja"), "w", encoding="ascii") as file:
        file.write(RULES + "".join(f"build {made}: compile source/{made[7:-2]}.c\n" for made in [*objects, "object/main.o"]) +
                   "".join(f"build {made}: sum source/{made[5:]}.txt\n" for made in sums) +
                   f"build object/values.a: archive {' '.join(objects)}\nbuild sums/all: join {' '.join(sums)}\n"
                   "build program: link object/main.o object/values.a\n")


RULES = """\
rule compile
  command = gcc -O0 -MMD -MF $out.d -c -o $out $in
  depfile = $out.d
  deps = gcc
rule archive
  command = rm -f $out && ar rcs $out $in
rule link
  command = gcc -o $out.new $in && mv $out.new $out
rule sum
  command = sha256sum <$in >$out.new && mv $out.new $out
rule join
  command = cat $in >$out.new && mv $out.new $out
"""
PROJECT_OUTPUT = f"{sum(range(SOURCES))}\n"
PROJECT_SUMS = "".join(f"{hashlib.sha256(content(f'text {number}')).hexdigest()}  -\n"
                       for number in sorted(range(TEXTS), key=str))


def listing(path):
    """{relative path: what it is and holds} of everything below; times of files, not of directories."""
    found = {}
    for directory, folders, names in os.walk(path):
        for name in folders + names:
            full = os.path.join(directory, name)
            status = os.lstat(full)
            about = [oct(status.st_mode), status.st_uid, status.st_gid]
            if os.path.islink(full):
                about.append(os.readlink(full))
            elif os.path.isfile(full):
                with open(full, "rb") as file:
                    about += [status.st_size, status.st_mtime_ns, status.st_nlink,
                              hashlib.file_digest(file, "sha256").hexdigest()]
                about += [(key, os.getxattr(full, key)) for key in os.listxattr(full) if key.startswith("user.")]
            found[os.path.relpath(full, path)] = about
    return found
