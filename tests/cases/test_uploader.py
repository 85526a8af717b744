"""The uploader alone: what it makes of every way in which S3 can answer, or not."""

import hashlib
import os
import signal
import time

import pytest

from lib import process
from lib.jobs import CHECK_FIRST, COPY, digests
from lib.s3 import S3Server
from lib.strace import Strace
from lib.tls import Certificate
from lib.uploader import Uploader
from lib.wait import wait_for

SMALL, BIG = b"small" * 100, bytes(range(256)) * 4096 * 5  # 500 B, 5 MiB


@pytest.fixture
def uploader(server, bucket):
    made = Uploader(server, bucket.name)
    yield made
    made.close()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def brief(result):
    return result["outcome"], result["way"], result["proof"]


DONE = ("done", "put", "sha256")


# ---- sending

@pytest.mark.sanitize
@pytest.mark.parametrize("content", [b"", b"x", SMALL, bytes(1 << 20), bytes((1 << 20) + 1), BIG],
                         ids=["empty", "one", "small", "1MiB", "1MiB+1", "big"])
def test_sizes(uploader, bucket, content):
    result = uploader.start().put(content)
    assert brief(result) == DONE
    assert result["sha256"] == sha256(content) and result["md5"] == hashlib.md5(content).hexdigest()
    blocks = [sha256(content[at:at + (1 << 20)]) for at in range(0, len(content), 1 << 20)]
    assert result["blocks"] == (blocks if len(blocks) > 1 else [])
    assert bucket.read("p/k") == content


@pytest.mark.parametrize("key", ["p/a b", "p/ü€😀", "p//two", "p/q?#&+%41", "p/trail/", "p/" + "k" * 1022,
                                 "p/!*'();:@,$=[]", "p/line\nbreak", "p/\x01"], ids=lambda key: repr(key)[:20])
def test_keys(uploader, bucket, key):
    assert brief(uploader.start().put(SMALL, key)) == DONE
    assert list(bucket.objects()) == [key]


@pytest.mark.parametrize("key", ["p/../up", "p/./dot", "../top"])
def test_dots_go_out_as_they_are(uploader, bucket, key):
    """The server refuses such keys, as S3 does for some; but what it refuses is the key that was meant, rightly signed."""
    result = uploader.start().put(SMALL, key)
    assert [(entry["key"], entry["code"]) for entry in bucket.requests("PutObject")] == [(key, "InvalidURI")]
    assert result["outcome"] == "parked" and "InvalidURI" in result["text"]


@pytest.mark.parametrize("ns, text", [(1700000000123456789, "1700000000.123456789"), (0, "0"), (1500000000, "1.5"),
                                      (-1, "-0.000000001"), (-86400000000000, "-86400")])
def test_mtime(uploader, bucket, ns, text):
    path = uploader.file("file", SMALL)
    os.utime(path, ns=(ns, ns))
    uploader.start().fusefs.put(path, "p/k")
    assert uploader.fusefs.result()["outcome"] == "done"
    assert bucket.head("p/k")["Metadata"] == {"mtime": text}


def test_many_at_once(uploader, server, bucket):
    uploader.set(EBBFS_CONNECTIONS="4")
    uploader.start()
    assert uploader.fusefs.capacity == 8
    paths = {f"p/{n}": uploader.file(str(n), os.urandom(3 << 20 if n % 10 == 0 else n)) for n in range(100)}
    waiting, results = list(paths.items()), []
    while len(results) < 100:
        while waiting and 100 - len(waiting) - len(results) < 8:
            key, path = waiting.pop()
            uploader.fusefs.put(path, key)
        results.append(uploader.fusefs.result())
    assert {brief(result) for result in results} == {DONE}
    assert {key: sha256(open(path, "rb").read()) for key, path in paths.items()} == \
        {key: value["sha256"] for key, value in bucket.objects().items()}
    # Keep-alive: one connection for each of the four, not one for each object.
    assert len({entry["peer"] for entry in bucket.requests("PutObject")}) <= 8


def test_virtual_host(uploader, server, bucket):
    uploader.set(EBBFS_S3_ADDRESSING="virtual", AWS_ENDPOINT_URL=f"http://localhost:{server.port}")
    assert brief(uploader.start().put(SMALL)) == DONE
    assert bucket.read("p/k") == SMALL


# ---- proof

def test_proof_by_etag(uploader, server, bucket):
    server.options(checksums=False)
    assert brief(uploader.start().put(SMALL)) == ("done", "put", "md5-etag")
    assert bucket.count("HeadObject") == 0


def test_proof_by_reading_back(uploader, server, bucket):
    server.options(checksums=False, etag="opaque")
    for content in (b"", SMALL, BIG):
        assert brief(uploader.start().put(content) if not uploader.process else uploader.put(content)) == \
            ("done", "put", "read-back")
    assert bucket.count("GetObject") == 3


def test_wrong_checksum_in_the_answer_is_looked_into(uploader, server, bucket):
    server.fault("checksum", "PutObject")
    assert brief(uploader.start().put(SMALL)) == DONE
    assert bucket.count("HeadObject") == 1


def test_wrong_digests_everywhere_but_right_bytes(uploader, server, bucket):
    server.options(checksums=False)
    server.fault("etag")
    assert brief(uploader.start().put(SMALL)) == ("done", "put", "read-back")


@pytest.mark.sanitize
def test_other_bytes_stored_is_never_a_proof(uploader, server, bucket):
    server.fault("corrupt", "PutObject")
    result = uploader.start().put(SMALL)
    assert result["outcome"] in ("parked", "retry") and result["proof"] == "none"


def test_other_bytes_read_back_parks(uploader, server, bucket):
    server.options(checksums=False, etag="opaque")
    server.fault("corrupt", "GetObject")
    for content in (SMALL, BIG):
        result = uploader.start().put(content) if not uploader.process else uploader.put(content)
        assert result["outcome"] == "parked" and "other bytes" in result["text"]


def test_contradiction_that_cannot_be_read_is_tried_again_later(uploader, server, bucket):
    server.options(checksums=False)
    server.fault("status", "GetObject", status=503, code="ServiceUnavailable")
    server.fault("etag")
    result = uploader.start().put(SMALL)
    assert result["outcome"] == "retry" and "another digest" in result["text"]


# ---- there already

def test_present(uploader, bucket):
    uploader.start()
    for content in (SMALL, BIG):
        assert brief(uploader.put(content, flags=CHECK_FIRST)) == DONE
        assert uploader.put(content, flags=CHECK_FIRST)["way"] == "present"
    assert bucket.count("PutObject") == 2


def test_present_by_etag_of_another_client(uploader, bucket):
    bucket.put("p/k", SMALL)
    assert brief(uploader.start().put(SMALL, flags=CHECK_FIRST)) == ("done", "present", "md5-etag")


def test_other_content_is_replaced(uploader, bucket):
    bucket.put("p/k", SMALL[::-1])
    assert brief(uploader.start().put(SMALL, flags=CHECK_FIRST)) == DONE
    assert bucket.read("p/k") == SMALL


def test_known_digest_is_no_proof_by_itself(uploader, bucket):
    path = uploader.file("file", SMALL)
    assert brief(uploader.start().put(SMALL, known=digests(path))) == DONE
    assert brief(uploader.put(SMALL, known=digests(path))) == ("done", "present", "sha256")
    assert bucket.count("PutObject") == 1


def test_refused_head_does_not_hinder_the_put(uploader, server, bucket):
    server.fault("status", "HeadObject", status=403, code="AccessDenied")
    assert brief(uploader.start().put(SMALL, flags=CHECK_FIRST)) == DONE


# ---- copying

@pytest.mark.parametrize("known", [False, True])
def test_copy(uploader, bucket, known):
    path = uploader.file("file", SMALL)
    uploader.start().put(SMALL, "p/ü a+b")
    result = uploader.put(SMALL, "p/new", kind=COPY, source="p/ü a+b", known=digests(path) if known else None)
    assert brief(result) == ("done", "copied", "sha256")
    assert (bucket.count("PutObject"), bucket.count("CopyObject")) == (1, 1)
    assert bucket.head("p/new")["Metadata"]["mtime"]
    assert bucket.read("p/new") == SMALL


@pytest.mark.parametrize("known", [False, True])
def test_copy_of_what_is_not_there_falls_back(uploader, bucket, known):
    path = uploader.file("file", BIG)
    result = uploader.start().put(BIG, kind=COPY, source="p/none", known=digests(path) if known else None)
    assert brief(result) == DONE
    assert bucket.read("p/k") == BIG


def test_copy_of_other_content_falls_back(uploader, bucket):
    bucket.put("p/source", b"other")
    path = uploader.file("file", SMALL)
    assert brief(uploader.start().put(SMALL, kind=COPY, source="p/source", known=digests(path))) == DONE
    assert bucket.read("p/k") == SMALL


def test_copy_with_an_error_inside_200(uploader, server, bucket):
    uploader.start().put(SMALL, "p/source")
    server.fault("copy_error", "CopyObject", code="InternalError", count=1)
    result = uploader.put(SMALL, "p/new", kind=COPY, source="p/source")
    assert brief(result) == ("done", "copied", "sha256")
    server.fault("copy_error", "CopyObject", code="AccessDenied")
    assert brief(uploader.put(SMALL, "p/newer", kind=COPY, source="p/source")) == DONE


def test_copy_of_a_version(uploader, server):
    bucket = server.bucket("versions", versioning=True)
    uploader.set(EBBFS_TARGET="s3://versions/p")
    first = uploader.start().put(SMALL, "p/source")
    second = uploader.put(BIG, "p/source")
    assert first["version_id"] and first["version_id"] != second["version_id"]
    result = uploader.put(SMALL, "p/new", kind=COPY, source="p/source", source_version=first["version_id"])
    assert brief(result) == ("done", "copied", "sha256") and result["version_id"]
    assert bucket.read("p/new") == SMALL
    bucket.drop()


# ---- failures that pass

@pytest.mark.sanitize
@pytest.mark.parametrize("status, code", [(500, "InternalError"), (502, ""), (503, "SlowDown"), (503, ""), (504, ""),
                                          (400, "RequestTimeout"), (429, "TooManyRequestsException")])
def test_two_bad_answers(uploader, server, bucket, status, code):
    server.fault("status", "PutObject", status=status, code=code, count=2)
    assert brief(uploader.start().put(SMALL)) == DONE
    assert bucket.count("PutObject") == 3


def test_bad_answers_for_ever(uploader, server, bucket):
    server.fault("status", status=503, code="ServiceUnavailable")
    result = uploader.start().put(SMALL)
    assert (result["outcome"], result["endpoint_down"], result["http_status"]) == ("retry", True, 503)
    assert bucket.count("PutObject") == 3


def test_nobody_listens(uploader, server, bucket):
    uploader.start()
    server.refuse()
    result = uploader.put(SMALL)
    assert (result["outcome"], result["endpoint_down"], result["http_status"]) == ("retry", True, 0)
    server.listen()
    assert brief(uploader.put(SMALL)) == DONE


def test_no_such_host(uploader, server, bucket):
    uploader.set(AWS_ENDPOINT_URL="http://nothing.invalid:80")
    result = uploader.start().put(SMALL)
    assert (result["outcome"], result["endpoint_down"]) == ("retry", True)


@pytest.mark.parametrize("fields", [{"bytes": 0}, {"bytes": 1 << 20}])
def test_reset_while_sending(uploader, server, bucket, fields):
    server.fault("reset", "PutObject", count=1, **fields)
    assert brief(uploader.start().put(BIG)) == DONE


@pytest.mark.sanitize
@pytest.mark.parametrize("content", [SMALL, BIG], ids=["small", "big"])
def test_lost_answer_is_not_sent_twice(uploader, server, bucket, content):
    server.fault("lost_answer", "PutObject", count=1)
    assert brief(uploader.start().put(content)) == DONE
    assert bucket.count("PutObject") == 1
    assert bucket.count("HeadObject") == 1


def test_lost_answers_for_ever(uploader, server, bucket):
    server.fault("lost_answer", "PutObject")
    server.fault("status", "HeadObject", status=503, code="ServiceUnavailable")
    assert uploader.start().put(SMALL)["outcome"] == "retry"


def test_clock_that_is_wrong(uploader, server, bucket):
    server.options(clock_offset=3600)
    assert brief(uploader.start().put(SMALL)) == DONE
    assert brief(uploader.put(SMALL, "p/second", flags=CHECK_FIRST)) == DONE
    assert [entry["status"] for entry in bucket.requests("PutObject")] == [403, 200, 200]


def test_other_region(server, bucket):
    with S3Server("--region", "eu-north-1") as other:
        bucket = other.bucket("there")
        made = Uploader(other, "there", AWS_REGION="us-east-1")
        try:
            other.fault("status", "PutObject", status=301, code="PermanentRedirect",
                        headers={"x-amz-bucket-region": "eu-north-1"}, count=1)
            assert brief(made.start().put(SMALL)) == DONE
            assert [entry["status"] for entry in bucket.requests("PutObject")] == [301, 200]
        finally:
            made.close()


def test_header_that_is_not_implemented_is_left_out_for_ever(uploader, server, bucket):
    server.options(checksums=False)
    server.fault("status", "PutObject", status=501, code="NotImplemented", count=1)
    assert brief(uploader.start().put(SMALL)) == ("done", "put", "md5-etag")
    assert brief(uploader.put(SMALL, "p/second")) == ("done", "put", "md5-etag")
    assert bucket.count("PutObject") == 3


# ---- failures that need a person

@pytest.mark.parametrize("change, says", [
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
    ({"AWS_ACCESS_KEY_ID": "nobody"}, "AWS_ACCESS_KEY_ID"),
    ({"EBBFS_TARGET": "s3://no-such-bucket/p"}, "no-such-bucket does not exist"),
    ({"AWS_ACCESS_KEY_ID": None}, "no credentials"),
])
def test_parked(uploader, change, says):
    uploader.set(**change)
    result = uploader.start().put(SMALL)
    assert result["outcome"] == "parked" and says in result["text"], result
    assert not result["endpoint_down"]


@pytest.mark.parametrize("status, code, says", [(403, "AccessDenied", "s3:PutObject"), (400, "EntityTooLarge", "larger"),
                                                (400, "Whatever", "Whatever"), (403, "ExpiredToken", "expired")])
def test_refused(uploader, server, bucket, status, code, says):
    server.fault("status", "PutObject", status=status, code=code)
    result = uploader.start().put(SMALL)
    assert result["outcome"] == "parked" and says in result["text"]
    assert bucket.count("PutObject") == 1


def test_certificate(tmp_path, bucket):
    with S3Server(certificate=Certificate(str(tmp_path))) as server:
        tls_bucket = server.bucket("tls")
        for ca, outcome in ((server.ca, "done"), (None, "parked")):
            made = Uploader(server, "tls", AWS_CA_BUNDLE=None)
            if ca:
                path = os.path.join(made.base, "ca.pem")
                with open(path, "w", encoding="ascii") as file:
                    file.write(open(ca, encoding="ascii").read())
                made.set(AWS_CA_BUNDLE=path)
            try:
                result = made.start().put(SMALL)
            finally:
                made.close()
            assert result["outcome"] == outcome
            assert ("AWS_CA_BUNDLE" in result["text"]) == (outcome == "parked")
        assert tls_bucket.count("PutObject") == 1


def test_too_large(uploader):
    path = uploader.file("file", b"")
    os.truncate(path, (5 << 30) + 1)
    uploader.start().fusefs.put(path, "p/k")
    result = uploader.fusefs.result()
    assert result["outcome"] == "parked" and "5 GiB" in result["text"]


def test_no_regular_file(uploader):
    read_end, write_end = os.pipe()
    uploader.start().fusefs.send(read_end, "p/k")
    assert uploader.fusefs.result()["outcome"] == "parked"
    os.close(read_end)
    os.close(write_end)


# ---- the file changes

def test_changed_before(uploader):
    path = uploader.file("file", SMALL)
    before = os.stat(path)
    os.utime(path, ns=(1, 1))
    with open(path, "rb") as file:
        uploader.start().fusefs.send(file.fileno(), "p/k", stat=before)
        assert uploader.fusefs.result()["outcome"] == "changed"


@pytest.mark.sanitize
@pytest.mark.parametrize("change", ["append", "truncate", "overwrite"])
def test_changed_while_sending(uploader, server, bucket, change):
    bucket.put("p/k", b"before")
    rule = server.fault("stall", "PutObject", bytes=1 << 18)
    path = uploader.file("file", os.urandom(64 << 20))
    uploader.start().fusefs.put(path, "p/k")
    wait_for(lambda: server.fault_state(rule)["waiting"], 20, "the PUT to stall")
    if change == "append":
        with open(path, "ab") as file:
            file.write(b"more")
    elif change == "truncate":
        os.truncate(path, 1 << 20)
    else:
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x00" if open(path, "rb").read()[-1] else b"\x01")
    server.clear_faults(rule)
    assert uploader.fusefs.result()["outcome"] == "changed"
    if change != "append":
        assert bucket.read("p/k") == b"before"


def test_cancel(uploader, server, bucket):
    rule = server.fault("stall", "PutObject")
    job = uploader.start().fusefs.put(uploader.file("file", BIG), "p/k")
    wait_for(lambda: server.fault_state(rule)["waiting"], 20, "the PUT to stall")
    uploader.fusefs.cancel(job)
    result = uploader.fusefs.result()
    assert (result["id"], result["outcome"]) == (job, "changed")
    server.clear_faults()
    uploader.fusefs.cancel(job)  # of what is over: nothing
    assert brief(uploader.put(SMALL)) == DONE
    assert bucket.read("p/k") == SMALL


# ---- the life of the process

def test_sigterm_finishes_what_it_has(uploader, server, bucket):
    rule = server.fault("stall", "PutObject")
    uploader.start().fusefs.put(uploader.file("file", SMALL), "p/k")
    wait_for(lambda: server.fault_state(rule)["waiting"], 20, "the PUT to stall")
    uploader.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "finishing" in uploader.log(), 10, "the uploader to say so")
    uploader.fusefs.put(uploader.file("late", SMALL), "p/late")
    server.clear_faults()
    assert brief(uploader.fusefs.result()) == DONE
    assert uploader.fusefs.result() is None
    assert uploader.process.wait(10) == 0
    assert bucket.keys() == ["p/k"]


def test_sigterm_has_an_end(uploader, server, bucket):
    uploader.set(EBBFS_DRAIN="500ms")
    rule = server.fault("stall", "PutObject")
    uploader.start().fusefs.put(uploader.file("file", SMALL), "p/k")
    wait_for(lambda: server.fault_state(rule)["waiting"], 20, "the PUT to stall")
    begun = time.monotonic()
    uploader.process.send_signal(signal.SIGTERM)
    assert uploader.process.wait(10) == 0
    assert time.monotonic() - begun > 0.4


def test_second_sigterm_at_once(uploader, server, bucket):
    rule = server.fault("stall", "PutObject")
    uploader.start().fusefs.put(uploader.file("file", SMALL), "p/k")
    wait_for(lambda: server.fault_state(rule)["waiting"], 20, "the PUT to stall")
    uploader.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "finishing" in uploader.log(), 10, "the uploader to say so")
    uploader.process.send_signal(signal.SIGTERM)
    assert uploader.process.wait(5) == 0


def test_reconnects_and_forgets(uploader, server, bucket):
    rule = server.fault("stall", "PutObject", count=1)
    uploader.start().fusefs.put(uploader.file("file", SMALL), "p/k")
    wait_for(lambda: server.fault_state(rule)["waiting"], 20, "the PUT to stall")
    uploader.fusefs.peer.close()
    uploader.fusefs.accept()
    server.clear_faults()
    assert brief(uploader.put(SMALL)) == DONE


@pytest.mark.parametrize("message", [b"", b"nonsense", b"ebj1\0\2\0\2" + bytes(8), b"ebj1\0\1\0\2" + bytes(8),
                                     b"ebj1\0\1\0\3" + bytes(40)], ids=["empty", "words", "version", "short", "result"])
def test_nonsense_ends_the_connection(uploader, message):
    uploader.start().fusefs.peer.send(message)
    assert uploader.fusefs.peer.recv(10) == b""
    uploader.fusefs.accept()
    assert brief(uploader.put(SMALL)) == DONE


def test_privileges(uploader):
    uploader.start()
    status = process.status(uploader.process.pid)
    assert set(status["Uid"].split()) == {"65532"} and set(status["Gid"].split()) == {"65532"}
    assert status["Groups"].split() == [] and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    with open(f"/proc/{uploader.process.pid}/limits", encoding="ascii") as file:
        assert "Max core file size        0                    0" in file.read()
    assert os.readlink(f"/proc/{uploader.process.pid}/cwd") == "/"
    assert os.stat(f"/proc/{uploader.process.pid}/mem").st_uid == 0, "dumpable"


def test_opens_nothing_by_name(uploader, tmp_path):
    """Neither the data directory nor anything in it: files come as descriptors."""
    uploader.start().put(SMALL)
    with Strace(uploader.process.pid, "%file", str(tmp_path)) as strace:
        for content in (SMALL, BIG):
            assert brief(uploader.put(content, "p/other")) == DONE
    assert [line for line in strace.lines if uploader.files in line] == []


def test_memory_does_not_grow_with_files(uploader):
    """Pss of what is its own, with 32 jobs of 12 MiB in hand and after them."""
    uploader.start().put(SMALL)
    path = uploader.file("big", os.urandom(12 << 20))
    before = process.memory_kib(uploader.process.pid)
    peak = 0
    for n in range(uploader.fusefs.capacity):
        uploader.fusefs.put(path, f"p/{n}")
    for _ in range(uploader.fusefs.capacity):
        assert brief(uploader.fusefs.result()) == DONE
        peak = max(peak, process.memory_kib(uploader.process.pid))
    assert peak - before < 8 * 1024, (before, peak)


@pytest.mark.parametrize("arguments, change, status, says", [
    (["--check"], {}, 0, ""),
    (["--check"], {"AWS_SECRET_ACCESS_KEY": None}, 2, "AWS_SECRET_ACCESS_KEY"),
    (["--check"], {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, 2, "no credentials"),
    ([], {"EBBFS_TARGET": None}, 2, "EBBFS_TARGET"),
    ([], {"EBBFS_CONNECTIONS": "0"}, 2, "EBBFS_CONNECTIONS"),
    ([], {"AWS_ENDPOINT_URL": "nonsense"}, 2, "AWS_ENDPOINT_URL"),
    ([], {"AWS_CA_BUNDLE": "/none"}, 2, "AWS_CA_BUNDLE"),
    (["--nonsense"], {}, 2, "--nonsense"),
])
def test_command_line(uploader, arguments, change, status, says):
    uploader.set(**change)
    returned, errors = uploader.check(*arguments)
    assert returned == status
    assert says in errors and errors.count("\n") == (1 if status else 0)


def test_credentials_that_its_user_cannot_read(uploader):
    path = os.path.join(uploader.files, "credentials")  # below a directory of root's
    with open(path, "w", encoding="ascii") as file:
        file.write("[default]\naws_access_key_id = test-key\naws_secret_access_key = test-secret\n")
    uploader.set(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_SHARED_CREDENTIALS_FILE=path)
    status, errors = uploader.check("--check")
    assert status == 2 and "Permission denied" in errors


def test_started_by_an_ordinary_user(uploader, bucket):
    uploader.launch_as = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"]
    assert brief(uploader.start().put(SMALL)) == DONE
    status = process.status(uploader.process.pid)
    assert set(status["Uid"].split()) == {"1234"}
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0 and status["Seccomp"] == "2"


def test_profile_file(uploader, bucket):
    path = os.path.join(uploader.base, "credentials")
    with open(path, "w", encoding="ascii") as file:
        file.write("[other]\naws_access_key_id = test-key\naws_secret_access_key = test-secret\n")
    os.chmod(path, 0o644)
    uploader.set(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_SHARED_CREDENTIALS_FILE=path, AWS_PROFILE="other")
    assert brief(uploader.start().put(SMALL)) == DONE
