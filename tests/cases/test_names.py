"""Every legal name gets a key by one reversible rule (P9), and nothing but regular files is uploaded (P10)."""

import os
import re
import socket
import stat
import urllib.parse

import pytest

from lib.mount import PREFIX

pytestmark = pytest.mark.sanitize

NAMES = [  # bytes of the name, key below the prefix
    (b"plain", "plain"),
    (b"with blank", "with blank"),
    (b"line\nbreak\ttab", "line%0Abreak%09tab"),
    (b"\x01\x7f", "%01%7F"),
    (b"latin-\xe4-1", "latin-%E4-1"),
    ("ümläut-漢-😀".encode(), "ümläut-漢-😀"),
    (b"cut-\xe6\xbc", "cut-%E6%BC"),
    (b"surrogate-\xed\xa0\x80", "surrogate-%ED%A0%80"),
    ("nonchar-\ufffe-\uffff".encode(), "nonchar-%EF%BF%BE-%EF%BF%BF"),
    (b"100%", "100%"),
    (b"%41", "%2541"),
    (b"%4a", "%4a"),
    (b"%%0A", "%%250A"),
    (b"a+b&c=d?e#f;g,h:i@j$k!l*m'n(o)p~q", "a+b&c=d?e#f;g,h:i@j$k!l*m'n(o)p~q"),
    (b"r\"s<t>u|v\\w^x`y{z}0[1]", "r\"s<t>u|v\\w^x`y{z}0[1]"),
    (b"...", "..."),
    (b" ", " "),
    (b"-rf", "-rf"),
    (b"n" * 255, "n" * 255),
    (b"deep/%2F/\xff", "deep/%252F/%FF"),
    (b"not-first/.ebbfs/file", "not-first/.ebbfs/file"),
]


def decode(key):
    return re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match.group(1), 16)]), key.encode())


def fill(box):
    for name, _ in NAMES:
        path = box.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"content of " + name)


def check(box):
    expected = {f"{PREFIX}/{key}": b"content of " + name for name, key in NAMES}
    assert box.bucket.content() == expected


def test_the_rule_of_this_table_is_reversible():
    assert all(decode(key) == name for name, key in NAMES)


@pytest.mark.parametrize("before", [False, True], ids=["written-through-the-mount", "found-at-the-start"])
def test_names(box, before):
    if before:
        fill(box)
    box.start()
    if not before:
        fill(box)
    box.settle_down()
    check(box)
    assert box.restart().settle_down() is None
    assert box.puts() == len(NAMES)


def test_a_name_that_is_ours(box):
    """.ebbfs in the root of the data directory shares no key with what ebbfs itself keeps in the bucket."""
    os.mkdir(box.path(".ebbfs"))
    box.write(".ebbfs/file")
    box.start().settle_down()
    assert box.bucket.keys() == [box.key("%2Eebbfs/file")]


def test_hidden_files_are_files(mounted):
    mounted.write(".hidden")
    mounted.write(".config/.deep")
    mounted.settle_down()
    mounted.assert_all_arrived()


def test_a_target_without_prefix(make_box, bucket):
    box = make_box(EBBFS_TARGET=f"s3://{bucket.name}").start()
    box.write("a/b")
    box.settle_down()
    assert box.bucket.keys() == ["a/b"]


def test_symlinks_and_special_files_stay_here(box):
    links = {"shadow": "/etc/shadow", "up": "../../../../etc/passwd", "dangling": "nothing", "dir": "/etc"}
    for name, target in links.items():
        os.symlink(target, box.path(name))
    os.mkfifo(box.path("fifo"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(box.path("socket"))
    os.mknod(box.path("null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(box.path("disk"), 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    box.start()
    os.symlink("/etc/shadow", box.path("shadow2"))
    os.mkfifo(box.path("fifo2"))
    os.mknod(box.path("zero"), 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    box.write("file")
    box.settle_down()
    assert box.bucket.keys() == [box.key("file")]
    assert all("shadow" not in entry["key"] and "fifo" not in entry["key"] for entry in box.bucket.requests())
    for name in ("shadow", "fifo", "socket", "null", "disk", "shadow2", "zero"):
        assert box.ls()[name]["state"] == "special", name
    assert os.readlink(box.path("shadow")) == "/etc/shadow"


def test_writing_through_a_symlink_uploads_its_target_only(mounted, tmp_path):
    (tmp_path / "outside").write_bytes(b"outside")
    os.symlink("real", mounted.path("inner"))
    os.symlink(tmp_path / "outside", mounted.path("outer"))
    mounted.write("inner", b"through the link")
    mounted.write("outer", b"elsewhere")
    mounted.settle_down()
    assert mounted.bucket.content() == {mounted.key("real"): b"through the link"}


def test_a_file_replaced_by_a_symlink_while_it_waits(make_box):
    box = make_box(EBBFS_SETTLE="700ms").start()
    box.write("file", b"harmless")
    os.unlink(box.path("file"))
    os.symlink("/etc/shadow", box.path("file"))
    box.settle_down()
    assert box.bucket.keys() == []


def test_a_directory_replaced_by_a_symlink_while_away(mounted, tmp_path):
    mounted.write("dir/file", b"ours")
    mounted.settle_down()
    mounted.stop()
    os.rename(mounted.path("dir"), mounted.path("moved"))
    (tmp_path / "file").write_bytes(b"not ours")
    os.symlink(tmp_path, mounted.path("dir"))
    mounted.start().settle_down()
    assert mounted.bucket.read(mounted.key("dir/file")) == b"ours"
    assert mounted.bucket.read(mounted.key("moved/file")) == b"ours"


def test_keys_on_the_wire_are_encoded_once(mounted):
    mounted.write("a b%41+c")
    mounted.settle_down()
    put, = mounted.bucket.requests("PutObject")
    assert put["key"] == mounted.key("a b%2541+c") == urllib.parse.unquote(urllib.parse.quote(put["key"]))
