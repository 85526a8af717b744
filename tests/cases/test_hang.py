"""fusefs hangs: it is noticed, killed and replaced, and every call in flight gets its true answer. A disk that stands
still is no hang: the next fusefs would wait for it as well.

The threads hang at kill points, in a build that has them (tests/lib/buildvariants.py).
"""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import time

import pytest

from lib.buildvariants import KillPoints, program_dirs, variant
from lib.wait import FACTOR, wait_for

NOTICED_S = 12  # a second in hand, four stuck, three silent; the rest is room
LONGER_THAN_THE_LIMITS_S = 10


class Calls:
    """System calls, each in a thread of its own, that may take as long as they like."""

    def __init__(self):
        self.pool, self.running = concurrent.futures.ThreadPoolExecutor(32), {}

    def start(self, name, function, *arguments):
        self.running[name] = self.pool.submit(function, *arguments)

    def unanswered(self):
        return [name for name, call in self.running.items() if not call.done()]

    def finish(self, seconds):
        """{name: result}; an error of any of them is raised here."""
        wait_for(lambda: not self.unanswered(), seconds, f"answers to {self.unanswered()}")
        return {name: call.result() for name, call in self.running.items()}


@pytest.fixture
def calls():
    made = Calls()
    yield made
    made.pool.shutdown(wait=False)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content, mode="wb"):
    with open(path, mode) as file:
        file.write(content)


def start_many(box, calls):
    """Of every kind; assert_answered() says what each of them has to come to."""
    calls.start("mkdir", os.mkdir, box.path("d"))
    calls.start("create", write, box.path("new"), b"new", "xb")
    calls.start("append", write, box.path("appended"), b" more", "ab")
    calls.start("truncate", write, box.path("truncated"), b"short")
    calls.start("read", read, box.path("read"))
    calls.start("rename", os.rename, box.path("old-name"), box.path("new-name"))
    calls.start("link", os.link, box.path("linked"), box.path("link"))
    calls.start("unlink", os.unlink, box.path("unlinked"))
    calls.start("rmdir", os.rmdir, box.path("empty"))
    calls.start("symlink", os.symlink, "target", box.path("symlink"))
    calls.start("xattr", os.setxattr, box.path("attributed"), "user.x", b"y", os.XATTR_CREATE)
    calls.start("list", os.listdir, box.path("folder"))


def prepare(box):
    for name in ("appended", "truncated", "read", "old-name", "linked", "unlinked", "attributed", "folder/inside"):
        box.write(name, b"content")
    os.mkdir(box.path("empty"))
    box.settle_down()


def assert_answered(box, results):
    assert results["read"] == b"content"
    assert results["list"] == ["inside"]
    assert read(box.path("new")) == b"new"
    assert read(box.path("appended")) == b"content more"
    assert read(box.path("truncated")) == b"short"
    assert os.path.samefile(box.path("linked"), box.path("link"))
    assert os.getxattr(box.path("attributed"), "user.x") == b"y"
    expected = {"d", "new", "appended", "truncated", "read", "new-name", "linked", "link", "symlink", "attributed",
                "folder"}
    assert {name for name in os.listdir(box.data) if not name.startswith("hung")} == expected
    assert os.readlink(box.path("symlink")) == "target"


def replaced(box, old, seconds):
    def there():
        pids = box.pids("ebbfs-fusefs")
        return pids and old not in pids and box.try_status().get("state") == "serving"
    wait_for(there, seconds, "another fusefs")


def way_to(box, points, wanted):
    """How many points a mkdir passes up to that one: found out by dying at one after the other."""
    for countdown in range(1, 30):
        box.settle_down()
        old = box.pid("ebbfs-fusefs")
        points.set(countdown)
        os.mkdir(box.path(f"hung-{countdown}"))
        deaths, _, name = points.read()
        points.set(0)
        assert deaths == 1, f"mkdir has {countdown - 1} points, and none is {wanted}"
        replaced(box, old, 10)
        if name == wanted:
            return countdown
    raise AssertionError(f"no {wanted} on the way")


@pytest.fixture(scope="session")
def points_build():
    return variant("points")


@pytest.mark.parametrize("where", ["create: made", "table: changed"], ids=["without-a-lock", "with-the-tables-lock"])
def test_a_thread_goes_round_in_a_circle(make_box, tmp_path, calls, points_build, where):
    points = KillPoints(str(tmp_path / "points"))
    box = make_box(EBBFS_BIN=program_dirs(points_build), **points.environment).start()
    countdown = way_to(box, points, where)
    prepare(box)
    old = box.pid("ebbfs-fusefs")
    points.set(countdown, hang=True)
    calls.start("hung", os.mkdir, box.path("hung"))
    deaths, _, name = wait_for(lambda: points.read()[0] and points.read(), 5, "the hang")
    assert (deaths, name) == (1, where)
    start_many(box, calls)
    started = time.monotonic()
    replaced(box, old, NOTICED_S)
    print(f"replaced after {time.monotonic() - started:.1f} s")
    assert_answered(box, calls.finish(5))
    assert os.path.isdir(box.path("hung"))
    assert "stuck" in box.log()


def test_fusefs_is_stopped(mounted, calls):
    prepare(mounted)
    old = mounted.kill("ebbfs-fusefs", signal.SIGSTOP)
    start_many(mounted, calls)
    replaced(mounted, old, NOTICED_S)
    assert_answered(mounted, calls.finish(5))


def make_ext4(image):
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)


@pytest.fixture
def volume(tmp_path):
    """A directory on an ext4 of its own."""
    path = tmp_path / "volume"
    path.mkdir()
    make_ext4(tmp_path / "image")
    subprocess.run(["mount", "-o", "loop", tmp_path / "image", path], check=True)
    (path / "data").mkdir(mode=0o755)
    yield str(path / "data")
    subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def frozen(path):
    subprocess.run(["fsfreeze", "-f", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", path], check=True)


def test_a_disk_that_stands_still_for_a_while(volume, make_box, calls):
    box = make_box(EBBFS_BACKING=volume).start()
    prepare(box)
    fusefs = box.pid("ebbfs-fusefs")
    with frozen(os.path.dirname(volume)):
        start_many(box, calls)
        time.sleep(LONGER_THAN_THE_LIMITS_S * FACTOR)
        assert {"mkdir", "create", "truncate", "rename"} <= set(calls.unanswered())
        assert "read" not in calls.unanswered(), "what changes nothing need not wait"
        assert box.pids("ebbfs-fusefs") == [fusefs], "killed for waiting for a disk"
    assert_answered(box, calls.finish(5))
    assert box.pids("ebbfs-fusefs") == [fusefs]
    box.settle_down()


@pytest.fixture
def stoppable(tmp_path):
    """A directory on an ext4 whose disk another process serves; and the pid of that."""
    for name in ("far", "near", "volume"):
        (tmp_path / name).mkdir(mode=0o755)
    make_ext4(tmp_path / "far/image")
    disk = subprocess.Popen(["bindfs", "-f", tmp_path / "far", tmp_path / "near"])
    wait_for(lambda: os.path.ismount(tmp_path / "near"), 10, "bindfs")
    subprocess.run(["mount", "-o", "loop", tmp_path / "near/image", tmp_path / "volume"], check=True)
    yield str(tmp_path / "volume"), disk.pid
    os.kill(disk.pid, signal.SIGCONT)
    subprocess.run(["umount", tmp_path / "volume"], check=True)
    subprocess.run(["umount", tmp_path / "near"], check=True)
    disk.wait()


def forget(volume):
    """Whatever can be read from its disk again has to be; the journal holds on to what it has not written in place."""
    with frozen(volume):
        pass
    for _ in range(3):  # names, then what they led to, then the blocks that it was on
        write("/proc/sys/vm/drop_caches", b"3")


def test_a_disk_that_does_not_answer(stoppable, make_box, calls):
    """One call for a file waits for the disk, the others wait for that one."""
    volume, disk = stoppable
    box = make_box(EBBFS_BACKING=volume).start()
    prepare(box)
    fusefs = box.pid("ebbfs-fusefs")
    known = os.open(box.path("read"), os.O_PATH)
    os.fstat(known)  # so that open(2) asks for nothing else first
    forget(volume)
    os.kill(disk, signal.SIGSTOP)
    for number in range(4):
        calls.start(f"open-{number}", os.open, f"/proc/self/fd/{known}", os.O_RDONLY)
    time.sleep(LONGER_THAN_THE_LIMITS_S * FACTOR)
    unanswered, pids = calls.unanswered(), box.pids("ebbfs-fusefs")
    os.kill(disk, signal.SIGCONT)
    assert len(unanswered) == 4
    assert pids == [fusefs], "killed for waiting for a disk"
    for fd in [known, *calls.finish(5).values()]:
        os.close(fd)
    assert box.pids("ebbfs-fusefs") == [fusefs]
    box.settle_down()
