"""The operations that a death is put into, point by point (points.py).

Each is a function that prepares an empty directory `at` and returns a Step: the operation, and what must be true after
it, however often the server died in it.
"""

import ctypes
import dataclasses
import errno
import fcntl
import os
import stat
import typing

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE = 1, 2
BIG = 300_000  # more than one request


@dataclasses.dataclass
class Step:
    act: typing.Callable  # the operation; an OSError counts by its errno
    names: set  # that the directory lists afterwards
    result: typing.Any = None  # what act returns; checked if it is not None
    error: int = 0  # the errno that act must end with
    check: typing.Callable = lambda: None
    again: typing.Any = None  # (call, errno): the same once more
    done: typing.Callable = lambda: None  # closes what is open


OPERATIONS = {}  # name → (function, point that must have been among those died at)


def operation(point, name=None):
    def enter(function):
        OPERATIONS[(name or function.__name__).replace("_", " ")] = (function, point)
        return function
    return enter


class Place:
    """A directory of the mount that only one step uses."""

    def __init__(self, path):
        self.path = path
        os.mkdir(path)

    def __call__(self, name):
        return os.path.join(self.path, name)

    def file(self, name, content=b"content", mode=0o640):
        with open(self(name), "wb") as file:
            file.write(content)
        os.chmod(self(name), mode)
        return self(name)

    def directory(self, name, *children):
        os.mkdir(self(name))
        for child in children:
            self.file(f"{name}/{child}")
        return self(name)

    def holds(self, name, content=b"content", nlink=1, mode=None):
        """It is a regular file with that content."""
        st = os.lstat(self(name))
        assert stat.S_ISREG(st.st_mode) and st.st_nlink == nlink and st.st_size == len(content), (name, st)
        assert mode is None or stat.S_IMODE(st.st_mode) == mode, (name, oct(st.st_mode))
        with open(self(name), "rb") as file:
            found = file.read()
        assert found == content, f"{name} holds {found[:40]!r}…, must hold {content[:40]!r}…"


def fd_holds(fd, content, nlink):
    st = os.fstat(fd)
    assert (st.st_nlink, st.st_size) == (nlink, len(content)), st
    assert os.pread(fd, len(content) + 1, 0) == content


def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def rename2(old, new, flags):
    call(LIBC.renameat2, AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fallocate(fd, mode, offset, length):
    call(LIBC.fallocate, fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


# ---- making

@operation("create: made")
def create_exclusive(at):
    fds = []

    def check():
        assert os.write(fds[0], b"written") == 7
        at.holds("new", b"written", mode=0o640)
    return Step(lambda: fds.append(os.open(at("new"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)), {"new"}, check=check,
                again=(lambda: os.open(at("new"), os.O_CREAT | os.O_EXCL | os.O_RDWR), errno.EEXIST),
                done=lambda: os.close(fds.pop()))


@operation("create: made")
def create(at):
    fds = []
    return Step(lambda: fds.append(os.open(at("new"), os.O_CREAT | os.O_WRONLY, 0o600)), {"new"},
                check=lambda: at.holds("new", b"", mode=0o600), done=lambda: os.close(fds.pop()))


@operation("open: to be answered")
def create_what_is_there(at):
    at.file("old")
    fds = []
    return Step(lambda: fds.append(os.open(at("old"), os.O_CREAT | os.O_RDWR)), {"old"},
                check=lambda: at.holds("old"), done=lambda: os.close(fds.pop()))


@operation("create: made")
def mkdir(at):
    def check():
        st = os.lstat(at("new"))
        assert stat.S_ISDIR(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o750 and st.st_nlink == 2, st
        assert os.listdir(at("new")) == []
    return Step(lambda: os.mkdir(at("new"), 0o750), {"new"}, check=check,
                again=(lambda: os.mkdir(at("new")), errno.EEXIST))


@operation("create: made")
def mknod(at):
    def check():
        assert stat.S_ISFIFO(os.lstat(at("new")).st_mode)
    return Step(lambda: os.mknod(at("new"), stat.S_IFIFO | 0o600), {"new"}, check=check,
                again=(lambda: os.mknod(at("new"), stat.S_IFIFO | 0o600), errno.EEXIST))


@operation("create: made")
def symlink(at):
    def check():
        assert os.readlink(at("new")) == "some/where"
    return Step(lambda: os.symlink("some/where", at("new")), {"new"}, check=check,
                again=(lambda: os.symlink("some/where", at("new")), errno.EEXIST))


@operation("link: made")
def link(at):
    at.file("old")

    def check():
        at.holds("old", nlink=2)
        assert os.lstat(at("old")).st_ino == os.lstat(at("new")).st_ino
    return Step(lambda: os.link(at("old"), at("new")), {"old", "new"}, check=check,
                again=(lambda: os.link(at("old"), at("new")), errno.EEXIST))


@operation("tmpfile: pinned")
def open_unnamed(at):
    fds = []

    def check():
        assert os.pwrite(fds[0], b"unnamed", 0) == 7
        fd_holds(fds[0], b"unnamed", 0)
    return Step(lambda: fds.append(os.open(at.path, os.O_TMPFILE | os.O_RDWR, 0o600)), set(), check=check,
                done=lambda: os.close(fds.pop()))


@operation("link: made")
def link_unnamed(at):
    fd = os.open(at.path, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"content")

    def act():
        call(LIBC.linkat, AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(at("new")), AT_SYMLINK_FOLLOW)
    return Step(act, {"new"}, check=lambda: at.holds("new"), again=(act, errno.EEXIST), done=lambda: os.close(fd))


# ---- removing

@operation("remove: gone")
def unlink(at):
    at.file("old")
    return Step(lambda: os.unlink(at("old")), set(), again=(lambda: os.unlink(at("old")), errno.ENOENT))


@operation("remove: gone")
def unlink_open(at):
    fd = os.open(at.file("old", b"content" * 1000), os.O_RDWR)

    def check():
        fd_holds(fd, b"content" * 1000, 0)
        assert os.pwrite(fd, b"CONTENT", 7000) == 7
        fd_holds(fd, b"content" * 1000 + b"CONTENT", 0)
    return Step(lambda: os.unlink(at("old")), set(), check=check,
                again=(lambda: os.unlink(at("old")), errno.ENOENT), done=lambda: os.close(fd))


@operation("remove: gone")
def unlink_one_of_two(at):
    os.link(at.file("old"), at("other"))
    return Step(lambda: os.unlink(at("old")), {"other"}, check=lambda: at.holds("other"),
                again=(lambda: os.unlink(at("old")), errno.ENOENT))


@operation("remove: gone")
def unlink_one_of_two_open(at):
    fd = os.open(at.file("old"), os.O_RDWR)
    os.link(at("old"), at("other"))
    return Step(lambda: os.unlink(at("old")), {"other"}, check=lambda: fd_holds(fd, b"content", 1),
                again=(lambda: os.unlink(at("old")), errno.ENOENT), done=lambda: os.close(fd))


@operation("remove: gone")
def rmdir(at):
    at.directory("old")
    return Step(lambda: os.rmdir(at("old")), set(), again=(lambda: os.rmdir(at("old")), errno.ENOENT))


@operation("remove: gone")
def rmdir_open(at):
    fd = os.open(at.directory("old"), os.O_RDONLY | os.O_DIRECTORY)

    def check():
        assert os.listdir(fd) == []
    return Step(lambda: os.rmdir(at("old")), set(), check=check,
                again=(lambda: os.rmdir(at("old")), errno.ENOENT), done=lambda: os.close(fd))


# ---- renaming

@operation("rename: renamed")
def rename(at):
    at.file("old")
    return Step(lambda: os.rename(at("old"), at("new")), {"new"}, check=lambda: at.holds("new"),
                again=(lambda: os.rename(at("old"), at("new")), errno.ENOENT))


@operation("rename: renamed")
def rename_over_a_file(at):
    at.file("old")
    at.file("new", b"replaced")
    return Step(lambda: os.rename(at("old"), at("new")), {"new"}, check=lambda: at.holds("new"),
                again=(lambda: os.rename(at("old"), at("new")), errno.ENOENT))


@operation("rename: renamed")
def rename_over_an_open_file(at):
    at.file("old")
    fd = os.open(at.file("new", b"replaced"), os.O_RDWR)

    def check():
        at.holds("new")
        fd_holds(fd, b"replaced", 0)
    return Step(lambda: os.rename(at("old"), at("new")), {"new"}, check=check,
                again=(lambda: os.rename(at("old"), at("new")), errno.ENOENT), done=lambda: os.close(fd))


@operation("rename: renamed")
def rename_over_an_empty_directory(at):
    at.directory("old", "in")
    at.directory("new")
    return Step(lambda: os.rename(at("old"), at("new")), {"new"}, check=lambda: at.holds("new/in"),
                again=(lambda: os.rename(at("old"), at("new")), errno.ENOENT))


@operation("rename: renamed")
def rename_a_directory(at):
    at.directory("old", "in")
    fd = os.open(at("old/in"), os.O_RDONLY)

    def check():
        at.holds("new/in")
        fd_holds(fd, b"content", 1)
    return Step(lambda: os.rename(at("old"), at("new")), {"new"}, check=check,
                again=(lambda: os.rename(at("old"), at("new")), errno.ENOENT), done=lambda: os.close(fd))


@operation("rename: renamed")
def rename_into_another_directory(at):
    at.file("old")
    at.directory("d")
    return Step(lambda: os.rename(at("old"), at("d/new")), {"d"}, check=lambda: at.holds("d/new"),
                again=(lambda: os.rename(at("old"), at("d/new")), errno.ENOENT))


@operation("rename: renamed")
def rename_noreplace(at):
    at.file("old")
    return Step(lambda: rename2(at("old"), at("new"), NOREPLACE), {"new"}, check=lambda: at.holds("new"),
                again=(lambda: rename2(at("old"), at("new"), NOREPLACE), errno.ENOENT))


@operation("rename: renamed")
def rename_exchange(at):
    at.file("one", b"was one")
    at.directory("two", "in")

    def check():
        at.holds("two", b"was one")
        at.holds("one/in")
    return Step(lambda: rename2(at("one"), at("two"), EXCHANGE), {"one", "two"}, check=check)


@operation("rename: renamed")
def rename_exchange_files(at):
    at.file("one", b"was one")
    at.file("two", b"was two")

    def check():
        at.holds("two", b"was one")
        at.holds("one", b"was two")
    return Step(lambda: rename2(at("one"), at("two"), EXCHANGE), {"one", "two"}, check=check)


@operation("rename: renamed")
def rename_whiteout(at):
    at.file("old")

    def check():
        at.holds("new")
        st = os.lstat(at("old"))
        assert stat.S_ISCHR(st.st_mode) and st.st_rdev == 0, st
    return Step(lambda: rename2(at("old"), at("new"), WHITEOUT), {"old", "new"}, check=check)


@operation("serve: read")
def rename_to_the_same_inode(at):
    os.link(at.file("old"), at("new"))

    def check():
        at.holds("old", nlink=2)
        at.holds("new", nlink=2)
    return Step(lambda: os.rename(at("old"), at("new")), {"old", "new"}, check=check)


# ---- attributes

@operation("setxattr: set")
def setxattr_create(at):
    def check():
        assert os.getxattr(at("file"), "user.x") == b"1" and os.listxattr(at("file")) == ["user.x"]
    at.file("file")
    return Step(lambda: os.setxattr(at("file"), "user.x", b"1", os.XATTR_CREATE), {"file"}, check=check,
                again=(lambda: os.setxattr(at("file"), "user.x", b"1", os.XATTR_CREATE), errno.EEXIST))


@operation("setxattr: set")
def setxattr_replace(at):
    def check():
        assert os.getxattr(at("file"), "user.x") == b"2" and os.listxattr(at("file")) == ["user.x"]
    os.setxattr(at.file("file"), "user.x", b"1")
    return Step(lambda: os.setxattr(at("file"), "user.x", b"2", os.XATTR_REPLACE), {"file"}, check=check)


@operation("setxattr: set")
def setxattr(at):
    def check():
        assert os.getxattr(at("file"), "user.x") == b"3"
    at.file("file")
    return Step(lambda: os.setxattr(at("file"), "user.x", b"3"), {"file"}, check=check)


@operation("removexattr: removed")
def removexattr(at):
    def check():
        assert os.listxattr(at("file")) == []
    os.setxattr(at.file("file"), "user.x", b"1")
    return Step(lambda: os.removexattr(at("file"), "user.x"), {"file"}, check=check,
                again=(lambda: os.removexattr(at("file"), "user.x"), errno.ENODATA))


@operation("serve: read")
def chmod(at):
    at.file("file")
    return Step(lambda: os.chmod(at("file"), 0o604), {"file"}, check=lambda: at.holds("file", mode=0o604))


@operation("serve: read")
def utimens(at):
    def check():
        assert os.lstat(at("file")).st_mtime_ns == 1_234_567_890_123_456_789
    at.file("file")
    return Step(lambda: os.utime(at("file"), ns=(1, 1_234_567_890_123_456_789)), {"file"}, check=check)


# ---- content

@operation("serve: read")
def truncate(at):
    at.file("file", b"content" * 5000)
    return Step(lambda: os.truncate(at("file"), 10), {"file"}, check=lambda: at.holds("file", b"contentcon"))


@operation("open: truncated")
def open_truncating(at):
    at.file("file", b"content" * 5000)
    fds = []

    def check():
        assert os.write(fds[0], b"new") == 3
        at.holds("file", b"new")
    return Step(lambda: fds.append(os.open(at("file"), os.O_WRONLY | os.O_TRUNC)), {"file"}, check=check,
                done=lambda: os.close(fds.pop()))


@operation("serve: read")
def write(at):
    fd = os.open(at.file("file"), os.O_WRONLY)
    content = os.urandom(1000) * (BIG // 1000)
    os.fstat(fd)
    return Step(lambda: os.pwrite(fd, content, 3), {"file"}, result=len(content),
                check=lambda: at.holds("file", b"con" + content), done=lambda: os.close(fd))


@operation("serve: read")
def append(at):
    fd = os.open(at.file("file"), os.O_WRONLY | os.O_APPEND)
    content = os.urandom(1000) * (BIG // 1000)
    os.fstat(fd)
    return Step(lambda: os.write(fd, content), {"file"}, result=len(content),
                check=lambda: at.holds("file", b"content" + content), done=lambda: os.close(fd))


@operation("serve: read")
def read(at):
    content = os.urandom(1000) * (BIG // 1000)
    fd = os.open(at.file("file", content), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.statvfs(at.path)
    return Step(lambda: (os.statvfs(at.path), os.pread(fd, BIG, 0))[1], {"file"}, result=content,
                done=lambda: os.close(fd))


@operation("serve: read")
def allocate(at):
    fd = os.open(at.file("file", b"x" * 8192), os.O_RDWR)
    return Step(lambda: fallocate(fd, 0, 8192, 4096), {"file"},
                check=lambda: at.holds("file", b"x" * 8192 + bytes(4096)), done=lambda: os.close(fd))


@operation("serve: read")
def punch_hole(at):
    fd = os.open(at.file("file", b"x" * 12288), os.O_RDWR)
    return Step(lambda: fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 4096, 4096), {"file"},
                check=lambda: at.holds("file", b"x" * 4096 + bytes(4096) + b"x" * 4096), done=lambda: os.close(fd))


@operation("serve: read")
def fsync(at):
    fd = os.open(at.file("file"), os.O_RDWR)
    os.write(fd, b"written")
    return Step(lambda: os.fsync(fd), {"file"}, check=lambda: at.holds("file", b"written"), done=lambda: os.close(fd))


# ---- looking

@operation("open: to be answered")
def open_file(at):
    at.file("file")
    fds = []
    return Step(lambda: fds.append(os.open(at("file"), os.O_RDWR)), {"file"},
                check=lambda: fd_holds(fds[0], b"content", 1), done=lambda: os.close(fds.pop()))


@operation("release: closed")
def release(at):
    fd = os.open(at.file("file"), os.O_RDWR)
    os.write(fd, b"written")

    def check():
        at.holds("file", b"written")
        other = os.open(at("file"), os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    return Step(lambda: os.close(fd), {"file"}, check=check)


@operation("release: closed")
def release_unlinked(at):
    fd = os.open(at.file("file"), os.O_RDWR)
    os.unlink(at("file"))
    return Step(lambda: os.close(fd), set())


@operation("serve: read")
def list_directory(at):
    names = {f"n{number}" for number in range(120)}
    for name in names:
        os.close(os.open(at(name), os.O_CREAT | os.O_WRONLY))
    return Step(lambda: sorted(os.listdir(at.path)), names, result=sorted(names))


@operation("entry: to be answered")
def lookup(at):
    """A name that the kernel does not know yet: made behind its back would be against the rules; forgotten is not."""
    at.file("file")
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("2")
    return Step(lambda: os.stat(at("file")).st_size, {"file"}, result=7, check=lambda: at.holds("file"))


@operation("serve: read")
def lookup_of_nothing(at):
    return Step(lambda: os.stat(at("nothing")), set(), error=errno.ENOENT,
                again=(lambda: os.stat(at("nothing")), errno.ENOENT))
