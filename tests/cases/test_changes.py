"""Names and content that change before, while and after they are uploaded (DESIGN: life of a file; P1, P5, P8)."""

import os
import time

import pytest

from lib.wait import wait_for

pytestmark = pytest.mark.sanitize
LARGE = 8 << 20  # more than sockets hold, so that the upload is really under way


def stalled_upload(box, name="file", size=LARGE):
    """Writes a file and returns, with its content, when its upload has begun and hangs in the middle."""
    rule = box.server.fault("stall", "PutObject", key=box.key(name), count=1, bytes=100_000)
    content = box.write(name, os.urandom(size))
    wait_for(lambda: box.server.fault_state(rule)["waiting"] == 1, 20, "the upload to hang")
    return content


def go_on(box):
    box.server.clear_faults()
    box.settle_down(60)
    files = box.status()["files"]
    assert files["queued"] == files["uploading"] == files["settling"] == 0


# ---- while uploading

def test_unlink_while_uploading(mounted):
    stalled_upload(mounted)
    os.unlink(mounted.path("file"))
    mounted.write("other")
    go_on(mounted)
    assert mounted.status()["files"]["parked"] == 0
    assert mounted.bucket.read(mounted.key("other")) == b"content\n"
    assert mounted.restart().settle_down() is None


def test_rename_while_uploading(mounted):
    content = stalled_upload(mounted)
    os.rename(mounted.path("file"), mounted.path("renamed"))
    go_on(mounted)
    assert mounted.bucket.read(mounted.key("renamed")) == content
    assert mounted.ls()["renamed"]["state"] == "uploaded"


def test_rename_of_the_directory_while_uploading(mounted):
    content = stalled_upload(mounted, "dir/file")
    os.rename(mounted.path("dir"), mounted.path("moved"))
    go_on(mounted)
    assert mounted.bucket.read(mounted.key("moved/file")) == content


@pytest.mark.parametrize("change", [
    lambda path: os.truncate(path, 1000),
    lambda path: os.truncate(path, 2 * LARGE),
    lambda path: open(path, "ab").write(b"more"),
    lambda path: open(path, "wb").write(b"all new"),
    lambda path: open(path, "r+b").write(b"x" * 4096),
], ids=["truncate", "extend", "append", "rewrite", "overwrite"])
def test_change_while_uploading(mounted, change):
    before = stalled_upload(mounted)
    change(mounted.path("file"))
    with open(mounted.path("file"), "rb") as file:
        after = file.read()
    assert before != after
    seen = set()
    mounted.server.clear_faults()

    def arrived():
        body = mounted.bucket.content().get(mounted.key("file"))
        seen.add(body)
        return body == after
    wait_for(arrived, 30, "the changed content")
    go_on(mounted)
    assert mounted.bucket.read(mounted.key("file")) == after
    # Whole or absent: nothing was ever there but one content or the other.
    assert seen <= {None, before, after}


def test_replaced_by_rename_while_uploading(mounted):
    stalled_upload(mounted)
    mounted.write("new", b"the new one")
    os.rename(mounted.path("new"), mounted.path("file"))
    go_on(mounted)
    assert mounted.bucket.read(mounted.key("file")) == b"the new one"


def test_two_uploads_of_one_key_do_not_race(mounted):
    """The earlier one could end last, and the later one's receipt would be about bytes that are not there."""
    stalled_upload(mounted)
    mounted.write("new", b"the new one")
    os.rename(mounted.path("new"), mounted.path("file"))
    time.sleep(3)  # long enough for the new one to be due, and sent if nothing held it back
    assert mounted.status()["files"]["uploading"] == 1
    go_on(mounted)
    assert mounted.bucket.read(mounted.key("file")) == b"the new one"
    assert mounted.puts("file") == 2


def test_content_changed_through_an_excluded_name(make_box):
    box = make_box(EBBFS_EXCLUDE="*.tmp").start()
    box.write("file", b"first")
    box.settle_down()
    os.rename(box.path("file"), box.path("file.tmp"))
    os.link(box.path("file.tmp"), box.path("other"))
    with open(box.path("file.tmp"), "wb") as file:
        file.write(b"second")
    os.rename(box.path("file.tmp"), box.path("file"))
    box.settle_down()
    assert box.bucket.content() == {box.key("file"): b"second", box.key("other"): b"second"}


def test_another_file_is_not_held_up(mounted):
    stalled_upload(mounted)
    mounted.write("other")
    wait_for(lambda: mounted.ls()["other"]["state"] == "uploaded", 10, "the other file")
    go_on(mounted)
    mounted.assert_all_arrived()


# ---- before

def test_unlink_before_upload(make_box):
    box = make_box(EBBFS_SETTLE="500ms").start()
    box.write("file")
    os.unlink(box.path("file"))
    box.settle_down()
    assert box.puts() == 0 and box.bucket.keys() == []


def test_rename_before_upload(make_box):
    box = make_box(EBBFS_SETTLE="500ms").start()
    content = box.write("file")
    os.rename(box.path("file"), box.path("renamed"))
    box.settle_down()
    assert box.bucket.content() == {box.key("renamed"): content}
    assert box.puts() == 1 and box.copies() == 0


def test_unlinked_while_open(mounted):
    with open(mounted.path("file"), "wb") as file:
        file.write(b"never closed under a name")
        os.unlink(mounted.path("file"))
    mounted.settle_down()
    assert mounted.bucket.keys() == []


# ---- after

def test_rename_after_upload_is_a_copy(mounted):
    content = mounted.write("file", os.urandom(1000))
    mounted.settle_down()
    mtime = mounted.bucket.head(mounted.key("file"))["Metadata"]["mtime"]
    os.rename(mounted.path("file"), mounted.path("renamed"))
    mounted.settle_down()
    assert mounted.bucket.content() == {mounted.key("file"): content, mounted.key("renamed"): content}
    assert mounted.bucket.head(mounted.key("renamed"))["Metadata"]["mtime"] == mtime
    assert (mounted.puts(), mounted.copies()) == (1, 1)
    assert mounted.ls()["renamed"]["key"] == mounted.key("renamed")


def test_rename_while_away_is_a_copy(mounted):
    content = mounted.write("file", os.urandom(1000))
    mounted.settle_down()
    mounted.stop()
    os.rename(mounted.path("file"), mounted.path("renamed"))
    mounted.start().settle_down()
    assert mounted.bucket.read(mounted.key("renamed")) == content
    assert (mounted.puts(), mounted.copies()) == (1, 1)


def test_rename_of_a_directory_is_copies(mounted):
    for number in range(30):
        mounted.write(f"dir/sub{number % 3}/{number}", b"%d" % number)
    mounted.settle_down()
    os.rename(mounted.path("dir"), mounted.path("moved"))
    mounted.settle_down()
    assert (mounted.puts(), mounted.copies()) == (30, 30)
    content = mounted.bucket.content()
    for number in range(30):
        for folder in ("dir", "moved"):
            assert content[mounted.key(f"{folder}/sub{number % 3}/{number}")] == b"%d" % number


def test_rename_of_a_directory_while_away_is_copies(mounted):
    mounted.write("dir/sub/file", b"ours")
    mounted.settle_down()
    mounted.stop()
    os.rename(mounted.path("dir"), mounted.path("moved"))
    mounted.start().settle_down()
    assert mounted.bucket.content() == {mounted.key("dir/sub/file"): b"ours", mounted.key("moved/sub/file"): b"ours"}
    assert (mounted.puts(), mounted.copies()) == (1, 1)


def test_rename_there_and_back(mounted):
    mounted.write("file")
    mounted.settle_down()
    for _ in range(3):
        os.rename(mounted.path("file"), mounted.path("other"))
        os.rename(mounted.path("other"), mounted.path("file"))
    mounted.settle_down()
    assert mounted.puts() == 1


def test_exchange(mounted):
    import ctypes
    one, two = mounted.write("one", b"one"), mounted.write("two", b"two two")
    mounted.settle_down()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, mounted.path("one").encode(), -100, mounted.path("two").encode(), 2) == 0
    mounted.settle_down()
    assert mounted.bucket.read(mounted.key("one")) == two and mounted.bucket.read(mounted.key("two")) == one


def test_a_rotated_log(mounted):
    """mv log log.1 and a new log: first the copy, then the PUT that takes the old key (P1)."""
    for number in range(3):
        content = mounted.write("log", b"log number %d\n" % number)
        mounted.settle_down()
        mark = mounted.server.mark()
        os.rename(mounted.path("log"), mounted.path(f"log.{number}"))
        mounted.write("log", b"fresh %d\n" % number)
        mounted.settle_down()
        assert mounted.bucket.read(mounted.key(f"log.{number}")) == content
        order = [entry["operation"] for entry in mounted.bucket.requests(since=mark)
                 if entry["operation"] in ("CopyObject", "PutObject") and entry["status"] == 200]
        assert order == ["CopyObject", "PutObject"]
    mounted.assert_all_arrived()


def test_a_rotated_log_keeps_its_object_until_it_has_its_copy(mounted):
    mounted.write("log", b"old lines")
    mounted.settle_down()
    mounted.server.fault("status", "CopyObject", status=503, code="SlowDown")
    os.rename(mounted.path("log"), mounted.path("log.1"))
    mounted.write("log", b"new lines")
    time.sleep(2.5)  # long enough for the new one to be due, not for patience to end
    assert mounted.bucket.content() == {mounted.key("log"): b"old lines"}
    go_on(mounted)
    assert mounted.bucket.content() == {mounted.key("log"): b"new lines", mounted.key("log.1"): b"old lines"}


def test_a_rotated_log_when_the_copy_fails_for_a_while(mounted):
    content = mounted.write("log", b"the old log\n")
    mounted.settle_down()
    mounted.server.fault("copy_error", "CopyObject", count=2)
    os.rename(mounted.path("log"), mounted.path("log.1"))
    mounted.write("log", b"the new log\n")
    mounted.settle_down(60)
    assert mounted.bucket.read(mounted.key("log.1")) == content
    assert mounted.bucket.read(mounted.key("log")) == b"the new log\n"


def test_unlink_after_upload_leaves_the_object(mounted):
    content = mounted.write("file")
    mounted.settle_down()
    os.unlink(mounted.path("file"))
    mounted.settle_down()
    assert mounted.bucket.content() == {mounted.key("file"): content}
    assert mounted.bucket.count("DeleteObject") == 0
    assert mounted.status()["files"]["known"] == 0


# ---- links

def test_a_hard_link_is_a_second_key_by_copy(mounted):
    content = mounted.write("file", os.urandom(2000))
    mounted.settle_down()
    os.link(mounted.path("file"), mounted.path("link"))
    mounted.settle_down()
    assert mounted.bucket.content() == {mounted.key("file"): content, mounted.key("link"): content}
    assert (mounted.puts(), mounted.copies()) == (1, 1)


def test_hard_links_from_before(box):
    content = box.write("file", os.urandom(2000))
    for number in range(3):
        os.link(box.path("file"), box.path(f"link{number}"))
    box.start().settle_down()
    assert set(box.bucket.content().values()) == {content} and len(box.bucket.keys()) == 4
    assert (box.puts(), box.copies()) == (1, 3)


def test_writing_through_one_link_renews_all_keys(mounted):
    mounted.write("file", b"old")
    os.link(mounted.path("file"), mounted.path("link"))
    mounted.settle_down()
    mounted.write("link", b"new")
    mounted.settle_down()
    assert mounted.bucket.content() == {mounted.key("file"): b"new", mounted.key("link"): b"new"}
