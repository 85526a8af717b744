"""Every closed file reaches S3 (P2), once (P5), with its content and its time (P1, P9)."""

import os
import select
import socket
import subprocess
import threading
import time
from decimal import Decimal

import pytest

from lib import fake_fusefs
from lib.mount import PROGRAM_DIRS, sha256_of_file
from lib.wait import FACTOR, wait_for

pytestmark = pytest.mark.sanitize


def test_a_closed_file_arrives(mounted):
    content = mounted.write("a/b/c.dat", os.urandom(3000))
    os.utime(mounted.path("a/b/c.dat"), ns=(1, 1712345678_123456789))
    mounted.settle_down()
    assert mounted.bucket.keys() == [mounted.key("a/b/c.dat")]
    assert mounted.bucket.read(mounted.key("a/b/c.dat")) == content
    mtime = mounted.bucket.head(mounted.key("a/b/c.dat"))["Metadata"]["mtime"]
    assert Decimal(mtime) == Decimal("1712345678.123456789")


def test_it_is_shown(mounted):
    mounted.write("file", b"12345")
    mounted.settle_down()
    entry = mounted.ls()["file"]
    assert (entry["state"], entry["size"], entry["key"], entry["type"]) == ("uploaded", 5, mounted.key("file"), "file")
    assert entry["sha256"] == sha256_of_file(mounted.path("file"))
    status = mounted.status()
    assert status["target"] == mounted.environment["EBBFS_TARGET"] and status["mount"] == mounted.data
    assert status["files"]["uploaded"] == 1 and status["bytes"]["uploaded"] == 5
    assert status["files"]["known"] == status["files"]["proven"] == 1
    assert status["uploader"] == "connected"


def test_the_upload_is_signed_over_its_bytes_and_proven(mounted):
    mounted.write("file")
    mounted.settle_down()
    put, = mounted.bucket.requests("PutObject")
    assert put["payload"] == sha256_of_file(mounted.path("file"))
    assert mounted.bucket.objects()[mounted.key("file")]["checksum"] is not None
    assert all(entry["payload"] != "UNSIGNED-PAYLOAD" for entry in mounted.bucket.requests())


def test_files_from_before_the_start_arrive(box):
    for number in range(50):
        box.write(f"{number % 5}/{number}", os.urandom(100))
    box.start().settle_down()
    box.assert_all_arrived()
    assert box.puts() == 50


class Between:
    """Stands between ebbfs-anchor and ebbfs-fusefs, and holds back what fusefs says from when it serves."""

    def __init__(self, box):
        self.folder, self.held, self.ended = os.path.join(box.base, "anchor"), threading.Event(), threading.Event()
        self.may_go = threading.Event()
        os.mkdir(self.folder)
        self.anchor = subprocess.Popen([os.path.join(PROGRAM_DIRS[1], "ebbfs-anchor")], stdin=subprocess.DEVNULL,
                                       env={**box.environment, "EBBFS_RUN": self.folder})
        wait_for(lambda: os.path.exists(os.path.join(self.folder, "anchor")), 10, "the anchor")
        self.listener = fake_fusefs.listen(box.run, "anchor")
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        fusefs, _ = self.listener.accept()
        anchor = fake_fusefs.connect(self.folder)
        with fusefs, anchor:
            while not self.ended.is_set():
                ready, _, _ = select.select([fusefs, anchor], [], [], 0.05)
                for source in ready:
                    message, fds, _, _ = socket.recv_fds(source, 64, 8)
                    if not message:
                        return
                    if source is fusefs and message == fake_fusefs.handover(fake_fusefs.SERVING):
                        self.held.set()
                        self.may_go.wait()
                    socket.send_fds(anchor if source is fusefs else fusefs, [message], fds)
                    for fd in fds:
                        os.close(fd)

    def close(self):
        self.may_go.set()
        self.ended.set()
        self.thread.join()
        self.listener.close()
        self.anchor.terminate()
        assert self.anchor.wait(20) == 0


def test_files_written_until_the_mount_appears_arrive(box):
    """Served, but not seen yet: what is written then goes past it, and must be found."""
    box.write("before")
    between = Between(box)
    parts = [subprocess.Popen([os.path.join(PROGRAM_DIRS[number], name)], env=box.environment, stdin=subprocess.DEVNULL)
             for number, name in ((2, "ebbfs-fusefs"), (3, "ebbfs-uploader"))]
    try:
        assert between.held.wait(10)
        wait_for(lambda: box.try_status().get("journal") == "open", 10, "the journal")
        time.sleep(0.5)  # for a comparison of the tree, which would come too early
        status = box.status()
        assert (status["state"], status["scan"]) == ("starting", "running") and not box.is_mounted()
        box.write("meanwhile")
        box.write("a/meanwhile")
        between.may_go.set()
        wait_for(lambda: box.try_status().get("state") == "serving", 10, "the mount")
        assert box.is_mounted()
        box.settle_down()
        box.assert_all_arrived()
        assert box.puts() == 3
    finally:
        for part in reversed(parts):
            part.terminate()
        codes = [part.wait(20 * FACTOR) for part in parts]
        between.close()
    assert codes == [0, 0] and not box.is_mounted()


def test_files_written_while_stopped_arrive(box):
    box.write("first")
    box.start().settle_down()
    box.stop()
    box.write("second", b"while away")
    box.write("first", b"changed while away")
    box.start().settle_down()
    box.assert_all_arrived()


def test_a_file_reopened_while_it_settles_is_uploaded_once(make_box):
    box = make_box(EBBFS_SETTLE="1500ms").start()
    box.write("file", b"one ")
    wait_for(lambda: box.ls()["file"]["state"] == "settling", 1)
    box.write("file", b"two", mode="ab")
    box.settle_down()
    assert box.bucket.read(box.key("file")) == b"one two"
    assert box.puts("file") == 1


def test_an_open_file_waits_until_it_is_closed(mounted):
    with open(mounted.path("file"), "wb", buffering=0) as file:
        file.write(b"begun")
        assert mounted.ls()["file"]["state"] == "dirty"
        mounted.write("other")
        wait_for(lambda: mounted.ls()["other"]["state"] == "uploaded")
        assert mounted.puts("file") == 0
        file.write(b" and ended")
    mounted.settle_down()
    assert mounted.bucket.read(mounted.key("file")) == b"begun and ended"


def test_appending_again_and_again(mounted):
    for number in range(4):
        mounted.write("log", b"%d\n" % number, mode="ab")
        mounted.settle_down()
        assert mounted.bucket.read(mounted.key("log")) == b"".join(b"%d\n" % i for i in range(number + 1))
    assert mounted.puts("log") == 4


def test_same_size_same_second(mounted):
    mounted.write("file", b"aaaa")
    mounted.settle_down()
    before = os.stat(mounted.path("file"))
    mounted.write("file", b"bbbb")
    os.utime(mounted.path("file"), ns=(before.st_atime_ns, before.st_mtime_ns))
    mounted.settle_down()
    assert mounted.bucket.read(mounted.key("file")) == b"bbbb"


def test_an_empty_file(mounted):
    mounted.write("empty", b"")
    mounted.settle_down()
    assert mounted.bucket.objects()[mounted.key("empty")]["size"] == 0


def test_temporary_name_then_rename(make_box):
    box = make_box(EBBFS_EXCLUDE="*.tmp").start()
    for number in range(20):
        box.write(f"{number}.tmp", b"%d" % number)
        os.rename(box.path(f"{number}.tmp"), box.path(str(number)))
    box.settle_down()
    box.assert_all_arrived()
    assert box.puts() == 20


def test_reading_is_no_change(mounted):
    mounted.write("file", bytes(5000))
    mounted.settle_down()
    with open(mounted.path("file"), "rb") as file:
        file.read()
    os.stat(mounted.path("file"))
    with open(mounted.path("file"), "r+b"):
        pass
    mounted.write("other")
    mounted.settle_down()
    assert mounted.puts("file") == 1


def test_written_by_mmap(mounted):
    import mmap
    mounted.write("file", bytes(8192))
    mounted.settle_down()
    with open(mounted.path("file"), "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[4096:4100] = b"mmap"
    mounted.settle_down()
    assert mounted.bucket.read(mounted.key("file"))[4096:4100] == b"mmap"


def test_truncate_by_name(mounted):
    mounted.write("file", b"0123456789")
    mounted.settle_down()
    os.truncate(mounted.path("file"), 4)
    mounted.settle_down()
    assert mounted.bucket.read(mounted.key("file")) == b"0123"


def test_many_small_files(mounted):
    for number in range(500):
        mounted.write(f"{number % 7}/{number}", os.urandom(1024))
    mounted.settle_down(60)
    mounted.assert_all_arrived()
    assert mounted.puts() == 500


def test_excluded_globs_stay_here(make_box):
    box = make_box(EBBFS_EXCLUDE="*.tmp:*.part").start()
    for name in ("a.tmp", "d/b.part", "c.tmpx", "d/tmp"):
        box.write(name)
    box.settle_down()
    assert box.bucket.keys() == [box.key("c.tmpx"), box.key("d/tmp")]
    assert box.ls()["a.tmp"]["state"] == "excluded"
    os.rename(box.path("a.tmp"), box.path("a"))
    box.settle_down()
    assert box.key("a") in box.bucket.keys()


def test_mode_owner_and_times_are_the_callers(mounted):
    mounted.write("file")
    os.chown(mounted.path("file"), 1234, 2345)
    os.chmod(mounted.path("file"), 0o640)
    mounted.settle_down()
    for status in (os.stat(mounted.path("file")), os.stat(mounted.backing("file"))):
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 2345, 0o640)
    assert mounted.puts("file") == 1
