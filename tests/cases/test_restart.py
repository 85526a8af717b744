"""Starting again: nothing is uploaded twice (P5), nothing is forgotten (P2), the end is orderly."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from lib.wait import wait_for

pytestmark = pytest.mark.sanitize


def fill(box, number=60):
    for index in range(number):
        box.write(f"{index % 6}/{index}", os.urandom(index * 10))
    os.mkdir(box.path("empty-directory"))


def test_with_the_journal_kept_no_put(mounted):
    fill(mounted)
    mounted.settle_down()
    mounted.stop()
    mark = mounted.server.mark()
    mounted.start().settle_down()
    assert mounted.puts(since=mark) == mounted.copies(since=mark) == 0
    assert mounted.status()["files"]["proven"] == 60
    mounted.assert_all_arrived()


@pytest.mark.parametrize("server_kind", [{}, {"checksums": False}, {"checksums": False, "etag": "opaque"}],
                         ids=["sha256", "md5", "read-back"])
def test_with_the_journal_lost_no_put(mounted, server_kind):
    mounted.server.options(**server_kind)
    fill(mounted, 20)
    mounted.settle_down()
    mounted.stop()
    shutil.rmtree(mounted.state)
    os.mkdir(mounted.state)
    mark = mounted.server.mark()
    mounted.start().settle_down()
    assert mounted.puts(since=mark) == mounted.copies(since=mark) == 0
    assert mounted.status()["files"]["proven"] == 20
    mounted.assert_all_arrived()


def test_with_the_journal_lost_changes_still_arrive(mounted):
    fill(mounted)
    mounted.settle_down()
    mounted.stop()
    shutil.rmtree(mounted.state)
    os.mkdir(mounted.state)
    mounted.write("0/6", b"changed, same size or not")
    mounted.write("new", b"new")
    mark = mounted.server.mark()
    mounted.start().settle_down()
    assert {entry["key"] for entry in mounted.bucket.requests("PutObject", since=mark)} == {
        mounted.key("0/6"), mounted.key("new")}
    mounted.assert_all_arrived()


def test_a_damaged_journal_is_set_aside(mounted):
    fill(mounted, 10)
    mounted.settle_down()
    mounted.stop()
    for folder, _, names in os.walk(mounted.state):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as file:
                file.write(os.urandom(8192))
    mark = mounted.server.mark()
    mounted.start().settle_down()
    assert mounted.puts(since=mark) == 0 and mounted.status()["files"]["proven"] == 10


def test_changed_while_away_same_size_and_mtime(mounted):
    mounted.write("file", b"aaaa")
    mounted.settle_down()
    before = os.stat(mounted.path("file"))
    mounted.stop()
    mounted.write("file", b"bbbb")
    os.utime(mounted.path("file"), ns=(before.st_atime_ns, before.st_mtime_ns))
    mounted.start().settle_down()
    assert mounted.bucket.read(mounted.key("file")) == b"bbbb"


def test_the_end_drains_unmounts_and_leaves_nothing(make_box):
    box = make_box(EBBFS_DRAIN="20s", EBBFS_SETTLE="1s").start()
    fill(box, 40)
    assert box.stop(40) == 0
    assert box.puts(status=200) == 39 + 1  # the first is empty, and still an object
    box.assert_all_arrived()


def test_the_end_waits_no_longer_than_it_may(make_box):
    box = make_box(EBBFS_DRAIN="1s").start()
    box.server.fault("stall", "PutObject")
    box.write("file")
    started = time.monotonic()
    box.stop(15)
    assert time.monotonic() - started < 10
    box.server.clear_faults()
    box.start().settle_down()
    box.assert_all_arrived()


def test_a_directory_removed_while_away_leaves_nothing_behind(make_box):
    box = make_box(EBBFS_DRAIN="200ms").start()
    box.write("gone/deeper/proven")
    box.write("stays/proven")
    box.settle_down()
    box.server.fault("stall", "PutObject")
    box.write("gone/deeper/waits")
    box.write("gone/waits")
    wait_for(lambda: box.status()["files"]["known"] == 4, 10, "the journal to know them")
    box.stop()
    shutil.rmtree(box.path("gone"))
    box.server.clear_faults()
    box.start().settle_down()
    wait_for(lambda: box.status()["files"]["known"] == 1, 10, "the journal to forget what is gone")
    assert set(box.bucket.keys()) == {box.key("gone/deeper/proven"), box.key("stays/proven")}


def test_files_stay_when_it_ends(mounted):
    content = mounted.write("file")
    mounted.stop()
    with open(mounted.path("file"), "rb") as file:
        assert file.read() == content


def test_everything_killed_at_once(mounted):
    """Power gone, as far as processes can show it: the mount is dead, and starting again mends it."""
    mounted.write("before")
    mounted.settle_down()
    mounted.server.fault("stall", "PutObject")
    mounted.write("waits")
    for pid in [mounted.process.pid, *mounted.pids()]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    mounted.process.wait()
    mounted.process = None
    wait_for(lambda: not mounted.pids(), 10, "the processes to go")
    subprocess.run(["umount", "-l", mounted.data], check=False, capture_output=True)
    mounted.server.clear_faults()
    mounted.start().settle_down()
    mounted.assert_all_arrived()
    assert mounted.puts("before") == 1


def test_a_second_ebbfs_on_the_same_state_is_refused(make_box, mounted):
    second = make_box()
    second.set(EBBFS_STATE=mounted.state)
    answer = second.command("run", timeout=30)
    assert answer.returncode not in (0, 2)
    assert not second.is_mounted()
    mounted.write("still works")
    mounted.settle_down()
