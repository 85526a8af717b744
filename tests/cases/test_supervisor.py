"""`ebbfs run` as the parent of its parts, and what the command line says, with stand-ins for fusefs and uploader."""

import copy
import json
import os
import re
import signal
import subprocess
import time

import pytest

from lib import process
from lib.fake_fusefs import STATUS
from lib.mount import EBBFS
from lib.parts import Parts
from lib.wait import wait_for

pytestmark = pytest.mark.sanitize
PARTS = ["anchor", "fusefs", "uploader"]


@pytest.fixture
def parts():
    made = Parts()
    yield made
    print(made.log())
    made.close()


def status_file(parts, **changes):
    """Writes what fusefs is to answer; returns the environment that says so."""
    status = copy.deepcopy(STATUS)
    for name, value in changes.items():
        status[name] = {**status[name], **value} if isinstance(value, dict) else value
    path = os.path.join(parts.base, "status.json")
    with open(path + ".new", "w", encoding="ascii") as file:
        json.dump(status, file)
    os.rename(path + ".new", path)
    return {"FAKE_STATUS": path}


def assert_nothing_left(parts):
    assert parts.types() == [] and parts.sees_plain()
    assert process.with_environment(f"EBBFS_RUN={parts.run_dir}") == []


def end(parts, run, code=0, seconds=20):
    run.terminate()
    assert run.wait(seconds) == code
    assert_nothing_left(parts)


def test_starts_and_ends_in_order(parts):
    run = parts.run()
    assert parts.types() == ["fuse.ebbfs"]
    end(parts, run)
    log = parts.log()
    order = [f"started {part}" for part in PARTS] + [f"{part} ended" for part in reversed(PARTS)]
    assert [log.index(text) for text in order] == sorted(log.index(text) for text in order)
    assert os.stat(parts.run_dir).st_mode & 0o777 == 0o755
    assert os.stat(parts.environment["EBBFS_STATE"]).st_mode & 0o777 == 0o700


def test_credentials_reach_the_uploader_only(parts):
    parts.run(AWS_SESSION_TOKEN="t", AWS_FUTURE_SECRET="f")
    for part in PARTS:
        names = [entry.partition(b"=")[0] for entry in process.read(f"/proc/{parts.pid(part)}/environ").split(b"\0")]
        held = sorted(name for name in names if name.startswith(b"AWS_"))
        wanted = [b"AWS_FUTURE_SECRET", b"AWS_SECRET_ACCESS_KEY", b"AWS_SESSION_TOKEN"] if part == "uploader" else []
        assert held == wanted, part


def test_argv_is_clean(parts):
    parts.run("--settle", "7s")
    assert process.read(f"/proc/{parts.pid('anchor')}/cmdline") == b"ebbfs-anchor\0"
    assert b"EBBFS_SETTLE=7s" in process.read(f"/proc/{parts.pid('anchor')}/environ").split(b"\0")


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back(parts, part):
    run = parts.run()
    for _ in range(3):
        old = parts.pid(part)
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: parts.pid(part) != old, 5, f"another {part}")
        wait_for(lambda: parts.types() == ["fuse.ebbfs"] and parts.ebbfs("status").returncode == 0, 10, "the mount")
    assert f"{part} ended" in parts.log() and "killed by SIGKILL" in parts.log()
    end(parts, run)


def test_a_killed_anchor_takes_nothing_along_if_fusefs_goes_on(parts):
    run = parts.run()
    fusefs, old = parts.pid("fusefs"), parts.pid("anchor")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: parts.pid("anchor") != old, 5, "another anchor")
    parts.wait_log("took the mount back")
    assert parts.types() == ["fuse.ebbfs"] and os.listdir(parts.data) == [] and parts.pid("fusefs") == fusefs
    os.stat(parts.data)
    end(parts, run)


def test_a_part_that_dies_at_once_is_not_started_in_a_tight_loop(parts):
    parts.script("uploader", "exit 1")
    run = parts.run()
    time.sleep(3)
    starts = parts.log().count("started uploader")
    assert 5 <= starts <= 30, starts
    end(parts, run)


def test_a_usage_error_of_a_part_ends_the_run(parts):
    parts.script("uploader", "exit 2")
    assert parts.ebbfs("run").returncode == 2
    assert_nothing_left(parts)


def test_a_part_that_cannot_start_ends_the_run(parts):
    parts.script("fusefs", "echo no journal >&2; exit 1")
    answer = parts.ebbfs("run")
    assert answer.returncode == 1 and "no journal" in answer.stderr
    assert_nothing_left(parts)


def test_drains_before_it_ends(parts):
    environment = status_file(parts, files={"queued": 3})
    run = parts.run(**environment)
    run.terminate()
    time.sleep(1)
    assert run.poll() is None and parts.types() == ["fuse.ebbfs"]
    status_file(parts)
    assert run.wait(5) == 0
    assert "drained: 512 files in S3" in parts.log()
    assert_nothing_left(parts)


def test_drains_no_longer_than_it_may(parts):
    run = parts.run("--drain", "700ms", **status_file(parts, files={"uploading": 3}))
    started = time.monotonic()
    end(parts, run)
    assert 0.7 <= time.monotonic() - started < 5
    assert "3 files wait" in parts.log()


def test_a_second_signal_skips_the_draining(parts):
    run = parts.run("--drain", "1h", **status_file(parts, scan="running"))
    run.terminate()
    parts.wait_log("first everything that was closed goes to S3")
    end(parts, run, seconds=5)


def test_the_uploader_is_restarted_while_draining(parts):
    run = parts.run("--drain", "1h", **status_file(parts, files={"queued": 3}))
    run.terminate()
    parts.wait_log("first everything that was closed goes to S3")
    old = parts.pid("uploader")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: parts.pid("uploader") != old, 5, "another uploader")
    end(parts, run)


@pytest.mark.slow
def test_what_does_not_end_is_killed(parts):
    parts.script("uploader", "trap '' TERM\nwhile :; do sleep 1; done")
    run = parts.run()
    run.terminate()
    assert run.wait(20) == 1
    assert "uploader does not end" in parts.log()
    wait_for(lambda: process.with_environment(f"EBBFS_RUN={parts.run_dir}") == [], 5, "the script's sleep")
    assert_nothing_left(parts)


@pytest.mark.slow
def test_a_stopped_fusefs_does_not_hold_up_the_end(parts):
    run = parts.run("--drain", "500ms")
    os.kill(parts.pid("fusefs"), signal.SIGSTOP)
    end(parts, run, code=1)
    assert "fusefs does not end" in parts.log()


def test_ctrl_c_is_for_the_parent_alone(parts):
    run = parts.run()
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(10) == 0
    assert_nothing_left(parts)
    assert "anchor ended" in parts.log() and "killed by SIGINT" not in parts.log()


def test_killed_it_leaves_the_mount_alive(parts):
    run = parts.run()
    pids = [parts.pid(part) for part in PARTS]
    run.kill()
    run.wait()
    assert all(process.is_alive(pid) for pid in pids)
    assert parts.types() == ["fuse.ebbfs"] and os.listdir(parts.data) == []
    second = parts.run()
    assert not any(process.is_alive(pid) for pid in pids)
    assert parts.types() == ["fuse.ebbfs"]
    end(parts, second)


def test_only_one_at_a_time(parts):
    run = parts.run()
    answer = parts.ebbfs("run")
    assert answer.returncode == 1 and "another `ebbfs run`" in answer.stderr
    assert parts.types() == ["fuse.ebbfs"]
    end(parts, run)


def test_one_part_each(parts):
    anchor = parts.run("anchor")
    fusefs = parts.run("fusefs")
    uploader = parts.run("uploader")
    assert parts.types() == ["fuse.ebbfs"]
    assert parts.ebbfs("status").returncode == 0
    for run in (uploader, fusefs, anchor):
        run.terminate()
        assert run.wait(10) == 0
    assert_nothing_left(parts)


def test_fusefs_alone_waits_for_its_anchor(parts):
    fusefs = parts.start(EBBFS, "run", "fusefs")
    wait_for(lambda: parts.log().count("started fusefs") >= 3, 10, "some attempts")
    parts.run("anchor")
    wait_for(lambda: parts.types() == ["fuse.ebbfs"], 10, "the mount")
    assert fusefs.poll() is None


def test_as_pid_1_it_reaps_orphans(parts):
    parts.script("uploader", "for i in 1 2 3 4 5; do (sleep 0.1 &); done\nexec sleep 1000")
    outer = parts.start("unshare", "--pid", "--fork", "--kill-child", EBBFS, "run")
    parts.wait_log("ebbfs: ready")
    run, = (pid for pid in process.pids() if process.parent(pid) == outer.pid)
    wait_for(lambda: sum(process.parent(pid) == run for pid in process.pids()) == 3, 5, "only three children")
    os.kill(run, signal.SIGTERM)
    assert outer.wait(20) == 0
    assert_nothing_left(parts)


def test_unknown_names_are_pointed_out(parts):
    run = parts.run(EBBFS_SETTEL="3s")
    assert "EBBFS_SETTEL" in parts.log() and "EBBFS_BIN means" not in parts.log()
    end(parts, run)


@pytest.mark.parametrize("name", ["EBBFS_STATE", "EBBFS_RUN"])
def test_nothing_of_ours_lies_in_the_data_directory(parts, name):
    parts.environment[name] = os.path.join(parts.data, "inside")
    answer = parts.ebbfs("run")
    assert answer.returncode == 2 and name in answer.stderr
    assert os.listdir(parts.data) == ["plain"]


WORKING = {"queued": 10, "uploading": 2}
SENTENCES = [
    ({}, "flowing: all 512 closed files are in S3"),
    ({"scan": "running"}, "flowing: all 512 closed files are in S3; still looking for files from before"),
    ({"files": WORKING, "oldest_waiting_seconds": 8}, "waiting: 12 files, oldest 8.0s; S3 answers"),
    ({"files": {"settling": 1}, "oldest_waiting_seconds": 1, "uploader": "absent"},
     "waiting: 1 file, oldest 1.0s; S3 answers"),
    ({"files": WORKING, "s3": {"last_success_seconds": 130, "last_failure_seconds": 1}, "last_error": "refused"},
     "NOT FLOWING: S3 has not answered for 2m10s: refused; 12 files wait; nothing is lost, files stay on disk"),
    ({"files": WORKING, "s3": {"last_success_seconds": 3, "last_failure_seconds": 1}, "oldest_waiting_seconds": 8},
     "waiting: 12 files, oldest 8.0s; S3 answers"),
    ({"files": WORKING, "s3": {"last_success_seconds": None}, "oldest_waiting_seconds": 90},
     "NOT FLOWING: S3 has never answered; 12 files wait; nothing is lost, files stay on disk"),
    ({"files": WORKING, "uploader": "absent"},
     "NOT FLOWING: the uploader is not there; 12 files wait; nothing is lost, files stay on disk"),
    ({"files": {"parked": 5}}, "5 files are parked: see `ebbfs ls --parked`"),
    ({"files": {"parked": 1, **WORKING}}, "1 file is parked: see `ebbfs ls --parked`; 12 more wait for their turn"),
    ({"state": "starting"}, "starting: files are not served through ebbfs yet"),
]


def test_status_in_one_sentence(parts):
    parts.run(**status_file(parts))
    for changes, sentence in SENTENCES:
        status_file(parts, **changes)
        answer = parts.ebbfs("status")
        assert answer.returncode == 0 and answer.stdout.splitlines()[0] == sentence
        assert all(len(line) <= 120 for line in answer.stdout.splitlines())
    assert json.loads(parts.ebbfs("status", "--json").stdout)["state"] == "starting"


def test_drain_exit_codes(parts):
    parts.run(**status_file(parts))
    for changes, code in [({}, 0), ({"files": {"settling": 1}}, 4), ({"scan": "running"}, 4), ({"files": {"parked": 2}}, 1),
                          ({"files": {"parked": 2, "queued": 1}}, 4)]:
        status_file(parts, **changes)
        answer = parts.ebbfs("drain", "--timeout", "300ms")
        assert answer.returncode == code, answer
        assert (answer.stderr.count("\n"), answer.stdout.count("\n")) == ((0, 1) if code == 0 else (1, 0))
    status_file(parts, files={"queued": 1})
    with subprocess.Popen([EBBFS, "drain"], env=parts.environment) as waiting:
        time.sleep(0.5)
        assert waiting.poll() is None
        status_file(parts)
        assert waiting.wait(5) == 0


def entry(name, state="uploaded", kind="file", **more):
    return {"name": name, "type": kind, "state": state, "size": 12, "mtime_ns": 1700000000999999999, **more}


def test_ls(parts):
    lists = {
        "": {"entries": [entry("a"), entry("line\nbreak\x1b", "parked", reason="too long"), entry("dir", "", "dir")]},
        "dir": {"entries": [entry("b", "parked", reason="no access"), entry("deeper", "", "dir")]},
        "dir/deeper": {"entries": []},
    }
    path = os.path.join(parts.base, "list.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump(lists, file)
    parts.run(FAKE_LIST=path)
    lines = parts.ebbfs("ls").stdout.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["uploaded", "12", "2023-11-14 22:13:20", "a"],
        ["parked", "12", "2023-11-14 22:13:20", '"line\\x0abreak\\x1b"', "(too long)"],
        ["dir", "-", "2023-11-14 22:13:20", "dir/"]]
    parked = parts.ebbfs("ls", "--parked").stdout.splitlines()
    assert len(parked) == 2 and parked[1].endswith("  dir/b  (no access)")
    assert parts.ebbfs("ls", "--parked", "dir/deeper").stdout == "no file is parked\n"
    for spelling in ("dir", "./dir/", "dir/deeper/..", f"{parts.data}/dir", f"{parts.data}//x/../dir/"):
        assert json.loads(parts.ebbfs("ls", "--json", spelling).stdout) == lists["dir"], spelling
    missing = parts.ebbfs("ls", "nothing")
    assert missing.returncode == 1 and '"nothing": No such file or directory' in missing.stderr
    for outside in ("..", "/etc", f"{parts.data}x", "dir/../.."):
        assert parts.ebbfs("ls", outside).returncode == 2, outside


def test_not_running_after_the_end(parts):
    end(parts, parts.run())
    for command in (["status"], ["ls"], ["drain"]):
        answer = parts.ebbfs(*command)
        assert answer.returncode == 3 and answer.stderr.count("\n") == 1 and "not running" in answer.stderr
