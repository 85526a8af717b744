"""Faults do what they say: to the requests that they match, as often as they should, and to no others."""

import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from lib.wait import wait_for

BROKEN = (BotoCoreError, ClientError)


def test_status_for_the_next_two(server, bucket):
    server.fault("status", "PutObject", status=503, code="SlowDown", count=2)
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            bucket.put("k", b"x")
    bucket.put("k", b"x")
    assert [entry["status"] for entry in bucket.requests("PutObject")] == [503, 503, 200]


def test_every_third_of_one_key(server, bucket):
    server.fault("status", key="hit*", status=500, code="InternalError", every=3)
    outcomes = []
    for number in range(9):
        bucket.put("other", b"x")
        try:
            bucket.put(f"hit{number}", b"x")
            outcomes.append(True)
        except ClientError:
            outcomes.append(False)
    assert outcomes == [True, True, False] * 3


def test_probability(server, bucket):
    rule = server.fault("status", "HeadObject", status=500, code="InternalError", probability=0.5)
    for _ in range(40):
        with pytest.raises(ClientError):
            bucket.head("k")
    assert 5 < server.fault_state(rule)["hits"] < 35


@pytest.mark.parametrize("fields", [{"bytes": 0}, {"bytes": 500_000}])
def test_reset_stores_nothing(server, bucket, fields):
    server.fault("reset", "PutObject", count=1, **fields)
    with pytest.raises(BROKEN):
        bucket.put("k", bytes(2_000_000))
    assert bucket.keys() == []


def test_lost_answer_stores(server, bucket):
    server.fault("lost_answer", "PutObject", count=1)
    with pytest.raises(BROKEN):
        bucket.put("k", b"x")
    assert bucket.read("k") == b"x"


def test_truncated_answer(server, bucket):
    bucket.put("k", bytes(1000))
    server.fault("truncate", "GetObject", bytes=100, count=1)
    with pytest.raises(BROKEN):
        bucket.read("k")
    assert bucket.read("k") == bytes(1000)


def test_copy_error_in_a_200(server, bucket):
    bucket.put("k", b"x")
    server.fault("copy_error", "CopyObject", count=1)
    source = {"Bucket": bucket.name, "Key": "k"}
    with pytest.raises(ClientError, match="InternalError"):
        bucket.boto.copy_object(Bucket=bucket.name, Key="copy", CopySource=source)
    assert bucket.keys() == ["k"]


def test_wrong_checksum_and_etag(server, bucket):
    digest = "LXEWQrcmsEQBYnyp++6ac1sZ9+/SNxtUHoOKlpLFwKI="  # not of the body below: must be refused
    with pytest.raises(ClientError, match="BadDigest"):
        bucket.put("k", b"x", ChecksumSHA256=digest)
    bucket.put("k", b"x", ChecksumSHA256="LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=")
    server.fault("checksum", "HeadObject", count=1)
    assert bucket.head("k")["ChecksumSHA256"].startswith("AAAA")
    server.fault("etag", "HeadObject", count=1)
    assert set(bucket.head("k")["ETag"]) == {'"', "0"}


def test_corrupt(server, bucket):
    server.fault("corrupt", "PutObject", count=1)
    bucket.put("k", b"xyz")
    assert bucket.read("k") == bytes([ord("x") ^ 1]) + b"yz"


def test_stall_until_released(server, bucket):
    rule = server.fault("stall", "PutObject", count=1)
    thread = threading.Thread(target=bucket.put, args=("k", b"x"))
    thread.start()
    wait_for(lambda: server.fault_state(rule)["waiting"] == 1)
    assert bucket.keys() == []
    server.clear_faults(rule)
    thread.join(10)
    assert bucket.keys() == ["k"]


def test_refuse_and_listen(server, bucket):
    bucket.put("k", b"x")
    server.refuse()
    with pytest.raises(BROKEN):
        bucket.put("k2", b"x")
    server.listen()
    bucket.put("k2", b"x")
    server.refuse(0.3)
    wait_for(lambda: server.control("GET", "/state")["listening"], 5)
    assert bucket.keys() == ["k", "k2"]


def test_wrong_rule_is_refused(server):
    with pytest.raises(Exception, match="400"):
        server.fault("burn")


def test_rate(server, bucket):
    """Quick enough not to be what the tests measure: a few hundred signed PUTs a second."""
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        start = time.monotonic()
        list(pool.map(lambda number: bucket.put(f"k{number}", b"x" * 1024), range(300)))
    # boto3 itself is most of this; the bound only catches a server that has become useless.
    assert time.monotonic() - start < 15
