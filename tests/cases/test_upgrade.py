"""Replacing the parts under a vendor that never notices: another build, an older one, one that cannot; and the end.

`next` reads the shared table of the build under test and makes it its own; the build under test cannot read what `next`
left; `foreign` and the others cannot read each other (meson.options, table_layout).
"""

import collections
import fcntl
import itertools
import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

from lib import process
from lib.buildvariants import variant
from lib.mount import BUILD, Writer
from lib.vendor import Vendor
from lib.wait import FACTOR, wait_for

FUSEFS = "fusefs/policy/ebbfs-fusefs"
LONGEST_S = 2  # that any call may take; the figure itself is printed


# struct flock: type, whence, start, length, pid
ASK_LOCK = """import fcntl, struct
lock = struct.pack("=hh4xqqi4x", fcntl.F_WRLCK, 0, 0, 10, 0)
print(struct.unpack("=hh4xqqi4x", fcntl.fcntl(0, fcntl.F_GETLK, lock))[0])"""


class Held:
    """What a process has open for a long time. check() uses all of it, and changes it."""

    def __init__(self, box):
        self.box, self.round = box, 0
        self.folder = box.path("held")
        os.mkdir(self.folder)
        self.open = os.open(os.path.join(self.folder, "open"), os.O_RDWR | os.O_CREAT, 0o600)
        self.append = os.open(os.path.join(self.folder, "append"), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.unlinked = os.open(os.path.join(self.folder, "unlinked"), os.O_RDWR | os.O_CREAT)
        os.pwrite(self.unlinked, b"unlinked", 0)
        os.unlink(os.path.join(self.folder, "unlinked"))
        self.mapped = os.open(os.path.join(self.folder, "mapped"), os.O_RDWR | os.O_CREAT)
        os.ftruncate(self.mapped, 8192)
        self.map = mmap.mmap(self.mapped, 8192)
        fcntl.flock(self.open, fcntl.LOCK_EX)
        fcntl.lockf(self.append, fcntl.LOCK_EX, 10, 0)
        self.ino = os.fstat(self.open).st_ino
        self.names = {f"{number:0200d}" for number in range(800)}
        os.mkdir(os.path.join(self.folder, "many"))
        for name in self.names:
            os.close(os.open(os.path.join(self.folder, "many", name), os.O_WRONLY | os.O_CREAT))
        self.listing = os.scandir(os.path.join(self.folder, "many"))
        self.listed = []

    def check(self):
        self.round += 1
        # A buffer of getdents(2) holds about 140 of these names: each round asks for more of the directory.
        self.listed += [entry.name for entry in itertools.islice(self.listing, 150)]
        os.pwrite(self.open, b"round %d" % self.round, 4096 * self.round)
        os.write(self.append, b"%d\n" % self.round)
        self.map[self.round] = self.round
        os.pwrite(self.unlinked, b"%d" % self.round, 100 * self.round)
        os.fsync(self.open)
        for earlier in range(1, self.round + 1):
            assert os.pread(self.open, 7, 4096 * earlier) == b"round %d" % earlier
            assert os.pread(self.unlinked, 1, 100 * earlier) == b"%d" % earlier
            assert os.pread(self.mapped, 1, earlier) == bytes([earlier])
        assert os.pread(self.append, 100, 0) == b"".join(b"%d\n" % number for number in range(1, self.round + 1))
        assert os.pread(self.unlinked, 8, 0) == b"unlinked" and os.fstat(self.unlinked).st_nlink == 0
        assert os.fstat(self.open).st_ino == os.stat(os.path.join(self.folder, "open")).st_ino == self.ino
        self.check_locks()

    def check_locks(self):
        """Held by this process, seen by others."""
        other = os.open(os.path.join(self.folder, "open"), os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        asked = subprocess.run([sys.executable, "-c", ASK_LOCK], stdin=self.append, capture_output=True, check=True)
        assert int(asked.stdout) == fcntl.F_WRLCK, "the byte-range lock is gone"

    def end(self):
        self.listed += [entry.name for entry in self.listing]
        assert sorted(self.listed) == sorted(self.names), "each name once"
        self.map.close()
        for fd in (self.open, self.append, self.unlinked, self.mapped):
            os.close(fd)


@pytest.fixture
def box(make_box):
    made = make_box()
    made.copy_programs()
    return made.start()


def build_of(pid):
    """The version that a process is of, by what it runs: bytes of its executable."""
    return process.read(f"/proc/{pid}/exe")


def replaced(box, part="ebbfs-fusefs", number=signal.SIGTERM):
    """Ends a part and waits for the next one; its pid."""
    old = box.kill(part, number)

    def another():
        pids = [pid for pid in box.pids(part) if pid != old]
        return not process.is_alive(old) and pids and box.try_status().get("state") == "serving" and pids[0]
    return wait_for(another, 20, f"another {part} that serves")


def assert_each_arrived(box):
    objects = {key: entry["sha256"] for key, entry in box.bucket.objects().items()}
    tree = box.tree()
    assert {key: objects.get(key) for key in tree} == tree


def assert_each_arrived_once(box):
    box.settle_down(60)
    assert_each_arrived(box)
    puts = collections.Counter(entry["key"] for entry in box.bucket.requests("PutObject", status=200))
    assert puts.most_common(1)[0][1] == 1, puts.most_common(3)


@pytest.fixture
def vendor(box):
    """A writer of new files and what it holds open, checked after each step. Nothing may be felt."""
    held = Held(box)
    held.check()
    with Writer(box, interval=0.02) as writer:
        def step():
            writer.wait_for_files(writer.count + 20)
            held.check()
        step()
        yield step
        step()
        held.end()
    print(f"{writer.count} files, the longest took {writer.longest * 1000:.0f} ms")
    assert writer.longest < LONGEST_S * FACTOR, f"a file took {writer.longest:.3f} s"
    assert "stepped aside" not in box.log()
    assert_each_arrived_once(box)


def test_an_upgrade_goes_on_and_a_downgrade_goes_back(box, vendor):
    box.replace_program("ebbfs-fusefs", source=os.path.join(variant("next"), FUSEFS))
    newer = build_of(replaced(box))
    vendor()
    assert "exit status 5" not in box.log()
    assert newer == process.read(os.path.join(variant("next"), FUSEFS))
    # It is itself that comes again, with the table as it made it.
    assert build_of(replaced(box, number=signal.SIGKILL)) == newer
    vendor()
    box.replace_program("ebbfs-fusefs", source=os.path.join(BUILD, FUSEFS))
    assert build_of(replaced(box)) == newer, "the build under test cannot read that table: the one before runs again"
    vendor()
    assert_refused_once(box)
    # And again, when that one is killed: the refused one is not tried for ever.
    assert build_of(replaced(box, number=signal.SIGKILL)) == newer
    vendor()
    assert_refused_once(box)
    box.replace_program("ebbfs-fusefs", source=os.path.join(variant("next"), FUSEFS))
    assert build_of(replaced(box)) == newer


def assert_refused_once(box):
    log = box.log()
    assert log.count("exit status 5") == 1, log.count("exit status 5")
    assert "was written by another version of ebbfs" in log
    assert "the version that ran before serves again; to change to the new one, end `ebbfs run`" in log


def test_one_that_cannot_read_the_table_gives_way(box, vendor):
    before = build_of(box.pid("ebbfs-fusefs"))
    box.replace_program("ebbfs-fusefs", source=os.path.join(variant("foreign"), FUSEFS))
    assert build_of(replaced(box)) == before
    vendor()
    assert_refused_once(box)
    # With a version that can, it goes on from there.
    box.replace_program("ebbfs-fusefs", source=os.path.join(variant("next"), FUSEFS))
    assert build_of(replaced(box)) == process.read(os.path.join(variant("next"), FUSEFS))


def test_a_foreign_one_starts_where_nothing_is_mounted(make_box):
    """Refusing is about a living connection only: after an end, any version begins anew."""
    box = make_box()
    box.copy_programs()
    box.start().write("file")
    box.settle_down()
    box.stop()
    box.replace_program("ebbfs-fusefs", source=os.path.join(variant("foreign"), FUSEFS))
    box.start().settle_down()
    assert "exit status 5" not in box.log() and box.puts("file") == 1


@pytest.mark.parametrize("part", ["ebbfs-anchor", "ebbfs-fusefs", "ebbfs-uploader"])
def test_each_part_is_replaced_by_sigterm(box, vendor, part):
    for _ in range(4):
        replaced(box, part)
        vendor()


def test_one_part_after_the_other(box, vendor):
    for part in ["ebbfs-fusefs", "ebbfs-anchor", "ebbfs-uploader"] * 2:
        replaced(box, part)
    vendor()


def test_the_end_under_a_writer(make_box):
    """SIGTERM to the whole: what was closed is in S3, nothing is mounted, no process is left; the vendor goes on."""
    box = make_box(EBBFS_DRAIN="3s").start()
    vendor = Vendor(box, "vendor")
    vendor.wait_for_rounds(50)
    box.process.send_signal(signal.SIGTERM)
    told = time.monotonic()
    before = {f"vendor/{number}" for number in range(len(vendor.done()))}
    assert box.process.wait(20 * FACTOR) == 0
    box.process, ended = None, time.monotonic()
    print(f"ended after {ended - told:.2f} s")
    assert not box.is_mounted() and not box.pids() and process.mounts_below(box.base) == []
    vendor.wait_for_rounds(20, plain=True)
    vendor.end()
    vendor.report(told)
    # What waits for an answer when the mount goes fails; nothing else does.
    assert len(vendor.failed()) <= 1 and not vendor.failed(since=ended)
    in_bucket = set(box.bucket.keys())
    missing = {name for name in before if box.key(name) not in in_bucket}
    assert not missing, f"closed before the end and not in S3: {sorted(missing)[:5]}"
    box.start().settle_down()
    assert_each_arrived(box)
