"""S3 fails, the uploader dies: no error reaches the writer (P3, P4), and every file arrives (P2), whole (P8)."""

import os
import time

import pytest

from lib.mount import Writer
from lib.wait import FACTOR, wait_for

pytestmark = pytest.mark.sanitize


def test_the_uploader_is_killed(mounted):
    with Writer(mounted) as writer:
        for number in range(3):
            writer.wait_for_files(writer.count + 40)
            first = mounted.kill("ebbfs-uploader")
            wait_for(lambda: any(pid != first for pid in mounted.pids("ebbfs-uploader")), 20, f"uploader {number + 2}")
        writer.wait_for_files(writer.count + 20)
    mounted.settle_down(60)
    mounted.assert_all_arrived()


def test_the_uploader_is_killed_in_the_middle_of_an_upload(mounted):
    rule = mounted.server.fault("stall", "PutObject", count=3)
    for number in range(3):
        mounted.write(str(number), os.urandom(300_000))
    wait_for(lambda: mounted.server.fault_state(rule)["waiting"] == 3)
    mounted.kill("ebbfs-uploader")
    mounted.server.clear_faults()
    mounted.settle_down()
    mounted.assert_all_arrived()


def test_the_uploader_hangs(make_box):
    """SIGSTOP is not death: nothing may be lost when it goes on."""
    import signal
    box = make_box().start()
    pid = box.kill("ebbfs-uploader", signal.SIGSTOP)
    with Writer(box) as writer:
        writer.wait_for_files(100)
    os.kill(pid, signal.SIGCONT)
    box.settle_down()
    box.assert_all_arrived()


def test_connections_are_refused(mounted, outage_seconds):
    with Writer(mounted) as writer:
        writer.wait_for_files(20)
        mounted.server.refuse(outage_seconds)
        time.sleep(outage_seconds)  # the outage itself
        writer.wait_for_files(writer.count + 20)
    assert writer.longest < 2 * FACTOR
    mounted.settle_down(90)
    mounted.assert_all_arrived()


def test_it_says_that_s3_is_away(mounted):
    mounted.server.refuse()
    mounted.write("file")
    wait_for(lambda: mounted.status().get("last_error"), 20, "last_error")
    status = mounted.status()
    assert status["oldest_waiting_seconds"] > 0 and status["files"]["queued"] + status["files"]["uploading"] == 1
    assert str(mounted.server.port) in status["last_error"] or "onnect" in status["last_error"]
    mounted.server.listen()
    mounted.settle_down(60)


@pytest.mark.parametrize("fault", [
    {"action": "status", "status": 503, "code": "SlowDown", "count": 40},
    {"action": "status", "status": 500, "code": "InternalError", "every": 2},
    {"action": "status", "status": 429, "code": "TooManyRequests", "every": 3},
    {"action": "reset", "every": 2},
    {"action": "reset", "bytes": 1, "every": 2},
    {"action": "lost_answer", "every": 2},
    {"action": "truncate", "every": 2},
    {"action": "stall", "seconds": 1, "every": 5},
], ids=["503-burst", "500", "429", "reset", "reset-in-body", "lost-answer", "truncated-answer", "slow"])
def test_faulty_puts(mounted, fault):
    mounted.server.fault(operation="PutObject", **fault)
    with Writer(mounted) as writer:
        writer.wait_for_files(60)
    mounted.settle_down(90)
    mounted.assert_all_arrived()


def test_every_second_request_of_any_kind_fails(mounted):
    mounted.server.fault("status", status=500, code="InternalError", probability=0.5)
    for number in range(20):
        mounted.write(str(number), os.urandom(1000))
    mounted.settle_down(90)
    mounted.server.clear_faults()
    mounted.assert_all_arrived()


def test_the_server_stores_other_bytes(mounted):
    """A server that breaks a body is found out by the proof, not believed; a person is told, and it can be mended."""
    mounted.server.fault("corrupt", "PutObject", count=1)
    mounted.write("file", b"precious")
    wait_for(lambda: mounted.ls()["file"]["state"] in ("parked", "uploaded"))
    entry = mounted.ls()["file"]
    if entry["state"] == "parked":
        assert "other bytes" in entry["reason"]
        mounted.write("file", b"precious")
        mounted.settle_down(60)
    assert mounted.bucket.read(mounted.key("file")) == b"precious"


@pytest.mark.parametrize("fault", ["checksum", "etag"])
def test_an_answer_that_does_not_fit_is_no_proof(mounted, fault):
    """The object is there and right, but what is said about it is not: only reading it back can prove it then."""
    mounted.server.options(checksums=fault == "checksum")
    rule = mounted.server.fault(fault, key=mounted.key("file"))
    mounted.write("file")
    wait_for(lambda: mounted.ls()["file"]["state"] in ("parked", "uploaded"))
    assert mounted.server.fault_state(rule)["hits"] >= 1
    if mounted.ls()["file"]["state"] == "uploaded":
        assert mounted.bucket.count("GetObject", key=mounted.key("file")) >= 1


def test_a_server_that_answers_wrongly_throughout_proves_nothing(mounted):
    for fault in ("checksum", "corrupt"):
        mounted.server.fault(fault, "HeadObject")
    mounted.server.fault("corrupt", "GetObject")
    mounted.server.fault("checksum", "PutObject")
    mounted.server.options(etag="opaque")
    mounted.write("file")
    wait_for(lambda: mounted.status()["last_error"], 20, "an error")
    time.sleep(0.5)  # in which a receipt would be written
    assert mounted.ls()["file"]["state"] != "uploaded" and mounted.status()["files"]["proven"] == 0


def test_a_lost_answer_costs_no_second_object(mounted):
    mounted.server.fault("lost_answer", "PutObject", count=1)
    mounted.write("file", b"x" * 1000)
    mounted.settle_down(60)
    mounted.assert_all_arrived()
    assert mounted.puts("file") <= 2


def test_clocks_that_differ(mounted):
    mounted.server.options(clock_offset=3600)
    mounted.write("file")
    mounted.settle_down(60)
    mounted.server.options(clock_offset=0)
    mounted.assert_all_arrived()


@pytest.mark.parametrize("etag, proof", [("md5", "HeadObject"), ("opaque", "GetObject")])
def test_servers_without_checksums(mounted, etag, proof):
    """The proof is the ETag if it is the MD5, else reading back (P1)."""
    mounted.server.options(checksums=False, etag=etag)
    mounted.write("file", os.urandom(5000))
    mounted.settle_down()
    reads = mounted.bucket.count("GetObject")
    assert (reads == 0) if proof == "HeadObject" else (reads >= 1)
    mounted.assert_all_arrived()
