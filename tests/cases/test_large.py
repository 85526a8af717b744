"""A large file, and that its bytes do not pass through fusefs."""

import hashlib
import os
import re

import pytest

from lib.strace import Strace

MIB = 1 << 20


def write_pieces(path, count):
    digest = hashlib.sha256()
    with open(path, "wb", buffering=0) as file:
        for _ in range(count):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


@pytest.mark.slow
def test_a_large_file(mounted):
    digest = write_pieces(mounted.path("large"), 300)
    mounted.settle_down(120)
    stored = mounted.bucket.objects()[mounted.key("large")]
    assert (stored["size"], stored["sha256"]) == (300 * MIB, digest)
    assert mounted.puts() == 1


@pytest.mark.passthrough
def test_no_bytes_pass_through_fusefs(mounted, tmp_path):
    calls = ("read,readv,pread64,preadv,preadv2,write,writev,pwrite64,pwritev,pwritev2,splice,vmsplice,tee,sendfile,"
             "copy_file_range")
    assert mounted.status()["passthrough"] is True
    with Strace(mounted.pid("ebbfs-fusefs"), calls, str(tmp_path)) as trace:
        digest = write_pieces(mounted.path("large"), 64)
        with open(mounted.path("large"), "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest
        mounted.settle_down(60)
    moved = sum(int(match.group(1)) for match in (re.search(r"\)\s+= (\d+)$", line) for line in trace.lines) if match)
    assert trace.lines, "strace saw nothing: the count would prove nothing"
    assert moved < 4 * MIB, f"{moved} bytes of 128 MiB passed through fusefs"


def test_without_passthrough_it_is_said_once(make_box):
    box = make_box(EBBFS_PASSTHROUGH="no").start()
    assert box.status()["passthrough"] is False
    digest = write_pieces(box.path("large"), 8)
    box.settle_down()
    assert box.bucket.objects()[box.key("large")]["sha256"] == digest
    assert sum("passthrough" in line for line in box.log().splitlines() if "ebbfs-fusefs" in line) == 1
