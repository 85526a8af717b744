"""Exit statuses and output that scripts rely on."""

import json
import os

import pytest

from lib.wait import wait_for

pytestmark = pytest.mark.sanitize


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["ls"], ["drain"]])
def test_not_running(box, command):
    answer = box.command(*command)
    assert answer.returncode == 3
    assert answer.stdout == b"" and answer.stderr.count(b"\n") == 1


@pytest.mark.parametrize("environment, word", [
    ({"EBBFS_TARGET": None}, "EBBFS_TARGET"),
    ({"EBBFS_TARGET": "http://x/y"}, "EBBFS_TARGET"),
    ({"EBBFS_TARGET": "s3://bucket/../x"}, "EBBFS_TARGET"),
    ({"EBBFS_TARGET": "s3://bucket/{shoe}"}, "{shoe}"),
    ({"AWS_ENDPOINT_URL": "ftp://127.0.0.1"}, "AWS_ENDPOINT_URL"),
    ({"AWS_CA_BUNDLE": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem"),
    ({"EBBFS_SETTLE": "soon"}, "EBBFS_SETTLE"),
    ({"EBBFS_CONNECTIONS": "0"}, "EBBFS_CONNECTIONS"),
    ({"EBBFS_DATA": "relative"}, "EBBFS_DATA"),
    ({"EBBFS_DATA": "/nonexistent/dir"}, "/nonexistent/dir"),
    ({"EBBFS_DATA": "/etc/passwd"}, "/etc/passwd"),
    ({"EBBFS_S3_ADDRESSING": "sideways"}, "EBBFS_S3_ADDRESSING"),
    ({"EBBFS_UPLOADER_USER": "0:0"}, "EBBFS_UPLOADER_USER"),
    ({"EBBFS_LOG": "loud"}, "EBBFS_LOG"),
], ids=lambda value: "" if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items()).replace("/", "|"))
def test_wrong_configuration(box, environment, word):
    box.set(**environment)
    answer = box.command("run")
    assert answer.returncode == 2, answer
    assert answer.stderr.count(b"\n") == 1 and word.encode() in answer.stderr, answer.stderr
    assert not box.is_mounted() and not box.pids()


@pytest.mark.parametrize("arguments", [
    ["fly"], [], ["run", "--no-such-flag"], ["drain", "--timeout", "x"], ["ls", "a", "b"]], ids=" ".join)
def test_usage(box, arguments):
    assert box.command(*arguments).returncode == 2


def test_help(box):
    answer = box.command("--help")
    assert answer.returncode == 0 and b"EBBFS_TARGET" in answer.stdout
    assert all(len(line) <= 80 for line in answer.stdout.splitlines())


def test_flags_are_the_same_as_variables(box):
    box.set(EBBFS_SETTLE="1h")
    box.launch("--settle", "50ms", "--exclude=*.tmp")
    wait_for(lambda: box.try_status().get("state") == "serving", 20, "serving")
    box.write("file")
    box.write("x.tmp")
    box.settle_down()
    assert box.bucket.keys() == [box.key("file")]


def test_status_for_people(mounted):
    mounted.write("file")
    mounted.settle_down()
    text = mounted.command("status").stdout.decode()
    assert mounted.environment["EBBFS_TARGET"] in text and mounted.data in text


def test_status_json_has_what_is_promised(mounted):
    status = mounted.status()
    assert status["version"] == 1 and status["state"] == "serving"
    assert set(status) >= {"mount", "target", "passthrough", "scan", "files", "bytes", "oldest_waiting_seconds", "uploader",
                           "disk"}
    assert set(status["files"]) >= {"closed", "settling", "queued", "uploading", "uploaded", "parked", "present", "copied",
                                    "known", "proven"}


def test_ls(mounted):
    mounted.write("dir/file", b"12345")
    mounted.write("line\nbreak", b"1")
    mounted.settle_down()
    lines = mounted.command("ls").stdout.decode().splitlines()
    assert len(lines) == 2, "a name with a newline is still one line"
    assert [line.split()[0] for line in sorted(lines)] == ["dir", "uploaded"]
    line, = mounted.command("ls", "dir").stdout.decode().splitlines()
    assert line.split()[0] == "uploaded" and line.split()[1] == "5" and line.endswith("file")
    assert mounted.ls("dir/file")["file"]["key"] == mounted.key("dir/file")
    assert mounted.command("ls", "nothing").returncode == 1


def test_ls_takes_paths_in_the_mount_too(mounted):
    mounted.write("dir/file")
    mounted.settle_down()
    answer = mounted.command("ls", "--json", mounted.path("dir"))
    assert answer.returncode == 0 and json.loads(answer.stdout)["entries"][0]["name"] == "file"


def test_anyone_may_ask(mounted):
    mounted.write("file")
    answer = mounted.command("status", "--json", user=1234, group=1234, extra_groups=[])
    assert answer.returncode == 0, answer


def test_drain(mounted):
    assert mounted.drain("1s") == 0
    rule = mounted.server.fault("stall", "PutObject")
    mounted.write("file")
    wait_for(lambda: mounted.server.fault_state(rule)["waiting"] == 1)
    assert mounted.drain("500ms") == 4
    mounted.server.clear_faults()
    assert mounted.drain() == 0
    assert mounted.bucket.keys() == [mounted.key("file")]


def test_drain_does_not_wait_for_settle_time_only(make_box):
    box = make_box(EBBFS_SETTLE="3s").start()
    box.write("file")
    assert box.drain() == 0
    assert box.bucket.keys() == [box.key("file")]


def test_the_log_holds_no_secret(mounted):
    mounted.write("file")
    mounted.settle_down()
    mounted.stop()
    assert mounted.environment["AWS_SECRET_ACCESS_KEY"] not in mounted.log()
    assert "Signature=" not in mounted.log()


def test_json_log(make_box):
    box = make_box(EBBFS_LOG="info,json").start()
    box.write("file")
    box.settle_down()
    box.stop()
    lines = box.log().splitlines()
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)


def test_a_backing_directory_elsewhere(make_box):
    box = make_box()
    elsewhere = os.path.join(box.base, "elsewhere")
    os.mkdir(elsewhere)
    with open(os.path.join(elsewhere, "before"), "wb") as file:
        file.write(b"before")
    box.set(EBBFS_BACKING=elsewhere)
    box.start()
    box.write("after")
    box.settle_down()
    assert box.bucket.keys() == [box.key("after"), box.key("before")]
    assert sorted(os.listdir(elsewhere)) == ["after", "before"]
    box.assert_all_arrived()
