"""The mount outlives its processes: what fusefs does beside serving, when it dies, ends or cannot have its journal."""

import os
import signal
import socket
import time

import pytest

from lib import process
from lib.mount import Writer
from lib.wait import wait_for

pytestmark = pytest.mark.sanitize


def another_fusefs(box, old, seconds=10):
    """Waits until one serves that is not `old`; its pid."""
    def there():
        pids = [pid for pid in box.pids("ebbfs-fusefs") if pid != old]
        return pids and box.try_status().get("state") == "serving" and pids[0]
    return wait_for(there, seconds, "another fusefs that serves")


def assert_each_arrived_once(box):
    box.settle_down()
    box.assert_all_arrived()
    twice = {key for key in box.tree() if box.bucket.count("PutObject", key=key, status=200) != 1}
    assert not twice, f"uploaded twice, or never: {sorted(twice)[:5]}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_fusefs_is_replaced_under_a_writer(mounted, number):
    with Writer(mounted) as writer:
        for kills in range(1, 8):
            writer.wait_for_files(kills * 30)
            old = mounted.kill("ebbfs-fusefs", number)
            another_fusefs(mounted, old)
    assert writer.longest < 2, f"a file took {writer.longest:.3f} s"
    assert_each_arrived_once(mounted)


def test_a_file_that_was_being_written(mounted):
    with open(mounted.path("file"), "wb") as file:
        file.write(b"before ")
        file.flush()
        another_fusefs(mounted, mounted.kill("ebbfs-fusefs"))
        assert mounted.ls()["file"]["state"] == "dirty"
        file.write(b"after")
        time.sleep(1)
        assert mounted.puts("file") == 0, "uploaded while it was open for writing"
    mounted.settle_down()
    assert mounted.bucket.read(mounted.key("file")) == b"before after"
    assert mounted.puts("file") == 1


def test_killed_as_soon_as_the_mount_is_there(make_box):
    """Before `ebbfs run` has started the rest; somebody may have a file open already."""
    box = make_box()
    box.launch()
    while not box.is_mounted():
        assert box.process.poll() is None
    old = box.kill("ebbfs-fusefs")
    another_fusefs(box, old)
    box.write("file")
    box.settle_down()
    box.assert_all_arrived()


def test_changes_that_died_with_fusefs(make_box):
    """What happened in the moments before a death was in memory only, and is found by comparing."""
    box = make_box(EBBFS_SETTLE="2s").start()  # commits are 500 ms apart
    content = {name: box.write(name, os.urandom(1000)) for name in
               ("kept", "rewritten", "renamed", "linked", "unlinked", "a/to-b", "b/to-a", "same-size")}
    box.settle_down()
    box.write("commit")  # the next commit is half a second away
    wait_for(lambda: "commit" in box.ls(), 5, "the name")
    content["rewritten"] = box.write("rewritten", b"short")
    content["same-size"] = box.write("same-size", os.urandom(1000))
    os.rename(box.path("renamed"), box.path("new-name"))
    os.link(box.path("linked"), box.path("second-name"))
    os.unlink(box.path("unlinked"))
    os.rename(box.path("a/to-b"), box.path("b/to-b"))
    os.rename(box.path("b/to-a"), box.path("a/to-a"))
    box.write("fresh", b"fresh")
    another_fusefs(box, box.kill("ebbfs-fusefs"))
    box.settle_down()
    objects, tree = box.bucket_tree(), box.tree()
    assert {key: objects.get(key) for key in tree} == tree
    assert box.bucket.read(box.key("new-name")) == content["renamed"]
    assert [box.puts(name) for name in ("kept", "rewritten", "same-size", "fresh")] == [1, 2, 2, 1]
    moved = ("new-name", "second-name", "b/to-b", "a/to-a")
    assert [(box.puts(name), box.copies(name)) for name in moved] == [(0, 1)] * 4
    assert box.status()["files"]["proven"] == len(tree) - 1  # one file has two names


def test_a_result_that_died_with_fusefs(mounted):
    """The object is there, its receipt is not: asked for, and not sent again."""
    rule = mounted.server.fault("stall", "PutObject")
    mounted.write("file", b"content")
    wait_for(lambda: mounted.server.fault_state(rule)["waiting"], 10, "the request")
    mounted.kill("ebbfs-fusefs", signal.SIGSTOP)
    mounted.server.clear_faults()
    wait_for(lambda: mounted.puts("file", status=200) == 1, 10, "the object")
    another_fusefs(mounted, mounted.kill("ebbfs-fusefs"))
    mounted.settle_down()
    assert mounted.puts("file") == 1
    assert mounted.status()["files"]["proven"] == mounted.status()["files"]["present"] == 1


def break_state(box):
    os.rename(box.state, box.state + ".away")


def mend_state(box):
    os.rename(box.state + ".away", box.state)


def test_without_its_journal_it_goes_on_serving(mounted):
    mounted.write("before")
    mounted.settle_down()
    break_state(mounted)
    with Writer(mounted) as writer:
        writer.wait_for_files(5)
        old = mounted.kill("ebbfs-fusefs")
        another_fusefs(mounted, old)
        writer.wait_for_files(writer.count + 50)
        status = mounted.status()
        assert (status["state"], status["journal"], status["scan"]) == ("serving", "absent", "running")
        assert "journal" in status["last_error"] and mounted.state in status["last_error"]
        sentence = mounted.command("status").stdout.decode().splitlines()[0]
        assert sentence.startswith("NOT FLOWING: the journal is not open: ") and "stay on disk" in sentence
        assert mounted.drain("200ms") == 4
        mend_state(mounted)
        wait_for(lambda: mounted.status()["journal"] == "open", 15, "the journal to be opened after all")
    assert mounted.pids("ebbfs-fusefs") and mounted.log().count("nothing is uploaded until it can be opened") == 1
    assert_each_arrived_once(mounted)


def test_a_new_mount_needs_its_journal(box):
    with open(os.path.join(box.state, "journal.lock"), "wb"):
        pass
    os.mkdir(os.path.join(box.state, "data.mdb"))
    answer = box.command("run", timeout=30)
    assert answer.returncode == 1 and b"journal in " in answer.stderr
    assert not box.is_mounted() and not box.pids()


def test_a_slow_reader_does_not_hold_up_the_end(mounted):
    for number in range(3000):
        with open(mounted.backing(f"{number:0200d}"), "wb"):
            pass
    os.listdir(mounted.data)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as reader:
        reader.connect(os.path.join(mounted.run, "status"))
        reader.sendall(bytes.fromhex("65627131") + b"\0\1\0\2\0\0")
        reader.recv(65536)
        old = mounted.pid("ebbfs-fusefs")
        started = time.monotonic()
        os.kill(old, signal.SIGTERM)
        wait_for(lambda: not process.is_alive(old), 5, "its end")
        assert time.monotonic() - started < 1
    another_fusefs(mounted, old)


def open_without_a_name(box, number):
    files = []
    for index in range(number):
        file = open(box.path(f"{index}"), "w+b")
        file.write(b"%d" % index)
        file.flush()
        os.unlink(file.name)
        files.append(file)
    return files


def assert_whole(files):
    for index, file in enumerate(files):
        assert os.fstat(file.fileno()).st_nlink == 0
        file.seek(0)
        assert file.read() == b"%d" % index
        file.close()


def held_by(pid):
    """Files without a name that a process holds, and the memfd of the state, which has none either."""
    return sum("(deleted)" in link for link in process.links(pid))


def test_the_anchor_is_replaced_and_then_fusefs(mounted):
    """What the first anchor held comes back to the second from fusefs, files without a name as well."""
    files = open_without_a_name(mounted, 300)
    with Writer(mounted):
        for _ in range(3):
            anchor = mounted.kill("ebbfs-anchor")
            wait_for(lambda: mounted.pids("ebbfs-anchor") not in ([], [anchor]), 10, "another anchor")
            # One after the other: until the new one holds everything, fusefs is the only one that does.
            wait_for(lambda: held_by(mounted.pid("ebbfs-anchor")) > len(files), 10, "the return")
            another_fusefs(mounted, mounted.kill("ebbfs-fusefs"))
    assert_whole(files)
    assert_each_arrived_once(mounted)
    wait_for(lambda: mounted.status()["fuse"]["handles"] == 0, 5, "no open handle")


def test_a_stopped_anchor_hears_it_later(mounted):
    """More goes on than its socket holds: nobody waits for it, and what is true in the end reaches it."""
    anchor = mounted.kill("ebbfs-anchor", signal.SIGSTOP)
    with Writer(mounted) as writer:
        gone = open_without_a_name(mounted, 500)
        files = open_without_a_name(mounted, 500)
        assert_whole(gone)
        writer.wait_for_files(writer.count + 20)
        assert writer.longest < 1
    os.kill(anchor, signal.SIGCONT)

    wait_for(lambda: held_by(anchor) == len(files) + 1, 10, "the anchor to hold what is open")
    another_fusefs(mounted, mounted.kill("ebbfs-fusefs"))
    assert_whole(files)
    wait_for(lambda: held_by(anchor) == 1, 10, "the anchor to let go")
