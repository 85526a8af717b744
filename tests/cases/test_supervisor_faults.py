"""`ebbfs run` when its parts hang, refuse the state, or were left behind by another `ebbfs run`; and when it is the one
that dies or stops. fusefs is a stand-in, anchor and uploader are real."""

import errno
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

from lib import process
from lib.mount import EBBFS
from lib.parts import Parts
from lib.talking_fusefs import install
from lib.wait import FACTOR, wait_for

pytestmark = pytest.mark.sanitize
PARTS = ["anchor", "fusefs", "uploader"]
REFUSE = "sys.exit(5)"


@pytest.fixture
def parts():
    made = Parts()
    os.unlink(os.path.join(made.bin, "ebbfs-uploader"))  # so that the real one is found
    made.environment.update(AWS_REGION="eu-central-1", AWS_ENDPOINT_URL="http://127.0.0.1:9", HOME=made.base,
                            AWS_ACCESS_KEY_ID="nobody", AWS_EC2_METADATA_DISABLED="true")
    install(made.bin, "first")
    yield made
    print(made.log())
    made.close()


class Looker:
    """Looks up a name in the mount again and again, as the vendor program uses it. Anything but ENOENT is a failure."""

    def __init__(self, parts):
        self.path = os.path.join(parts.data, "nothing")
        self.count, self.error = 0, None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.ended.wait(0.002) and self.error is None:
            try:
                os.stat(self.path)
                self.error = FileExistsError(self.path)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    self.error = error
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def goes_on(self, seconds=30):
        mark = self.count
        wait_for(lambda: self.count > mark + 10 or self.error, seconds, "answered look-ups")
        assert self.error is None, self.error

    def __exit__(self, kind, *_):
        self.ended.set()
        self.thread.join()
        if kind is None:
            assert self.error is None and self.count > 0, self.error


def end(parts, run, code=0, seconds=20):
    run.terminate()
    assert run.wait(seconds * FACTOR) == code
    assert parts.types() == [] and parts.sees_plain()
    assert process.with_environment(f"EBBFS_RUN={parts.run_dir}") == []


def another(parts, part, old, seconds=30):
    return wait_for(lambda: (pid := parts.pid(part)) != old and pid, seconds, f"another {part}")


def starts(parts, name):
    return parts.log().count(f"fusefs here: {name}")


def run_talking(parts, **environment):
    """`ebbfs run` once all of its parts have said that they are ready: from then on, they are watched."""
    run = parts.run(**environment)
    parts.wait_log("ebbfs-uploader: ready")
    return run


# ---- hanging


@pytest.mark.parametrize("part", PARTS)
def test_a_hang_is_noticed(parts, part):
    run = run_talking(parts)
    old = parts.pid(part)
    with Looker(parts) as looker:
        os.kill(old, signal.SIGSTOP)
        another(parts, part, old)
        looker.goes_on()
    assert f"{part} is silent for" in parts.log()
    end(parts, run)


def test_one_that_never_spoke_is_not_watched(parts):
    parts.script("uploader", "exec sleep 1000")
    run = parts.run()
    old = parts.pid("uploader")
    time.sleep(12)  # longer than any part may be silent
    assert parts.pid("uploader") == old and "silent" not in parts.log()
    end(parts, run)


def test_stopped_and_continued_it_kills_nobody(parts):
    run = run_talking(parts)
    pids = [parts.pid(part) for part in PARTS]
    with Looker(parts) as looker:
        os.kill(run.pid, signal.SIGSTOP)
        time.sleep(5)  # longer than fusefs may be silent
        os.kill(run.pid, signal.SIGCONT)
        looker.goes_on()
        for pid in [run.pid, *pids]:  # as when a container is frozen: nobody spoke meanwhile
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        for pid in [run.pid, *pids]:
            os.kill(pid, signal.SIGCONT)
        time.sleep(5)
        looker.goes_on()
    assert [parts.pid(part) for part in PARTS] == pids and "silent" not in parts.log()
    os.kill(pids[1], signal.SIGSTOP)  # it still watches
    another(parts, "fusefs", pids[1])
    end(parts, run)


def test_a_stranger_is_not_heard(parts):
    run = run_talking(parts)
    path = f"{parts.run_dir}/notify"
    assert os.stat(path).st_mode & 0o777 == 0o600
    old = parts.pid("fusefs")
    os.kill(old, signal.SIGSTOP)
    heard_out = threading.Event()

    def pretend():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            while not heard_out.wait(0.2):
                for message in (b"WATCHDOG=1", b"READY=1\nWATCHDOG=1", b"", b"x" * 60000, bytes(2000)):
                    stranger.sendto(message, path)
    thread = threading.Thread(target=pretend)
    thread.start()
    try:
        another(parts, "fusefs", old)
    finally:
        heard_out.set()
        thread.join()
    end(parts, run)


def test_a_long_path(parts):
    parts.run_dir = parts.environment["EBBFS_RUN"] = os.path.join(parts.base, "r" * 150)
    parts.script("fusefs", "exec sleep 1000")  # python has no way to so long a path
    started = parts.start(EBBFS, "run")
    old = parts.pid("anchor")
    wait_for(lambda: "ebbfs-anchor: ready" in parts.log(), 10, "the anchor")
    os.kill(old, signal.SIGSTOP)
    assert started.wait(20 * FACTOR) == 1  # nothing depended on it yet
    assert "anchor is silent for" in parts.log()


# ---- a state that is refused


def test_the_version_that_ran_before_goes_on(parts):
    run = run_talking(parts)
    install(parts.bin, "second", first=REFUSE)
    with Looker(parts) as looker:
        for number in (2, 3):  # the second one is not tried a second time
            os.kill(parts.pid("fusefs"), signal.SIGKILL)
            wait_for(lambda: starts(parts, "first") == number, 20, "the first version")
            looker.goes_on()
        assert starts(parts, "second") == 1
        assert "ebbfs-fusefs (new) cannot go on with the mount's state; the version that ran before" in parts.log()
        install(parts.bin, "third")  # another file: tried, and understands it
        os.kill(parts.pid("fusefs"), signal.SIGKILL)
        wait_for(lambda: starts(parts, "third") == 1, 20, "the third version")
        looker.goes_on()
    assert (starts(parts, "first"), starts(parts, "second")) == (3, 1)
    assert "is the plain directory" not in parts.log()
    end(parts, run)


def test_on_a_new_mount_the_refused_one_is_tried_again(parts):
    parts.environment["EBBFS_FAIL_OPEN_AFTER"] = "1s"
    run = run_talking(parts)
    marker = os.path.join(parts.base, "understands")
    install(parts.bin, "second", first=f"if not os.path.exists({marker!r}): {REFUSE}")
    os.kill(parts.pid("fusefs"), signal.SIGKILL)
    wait_for(lambda: starts(parts, "first") == 2, 20, "the first version")
    with open(marker, "wb"):
        pass
    old = parts.pid("fusefs")
    os.kill(run.pid, signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    parts.wait_log("is the plain directory", 20)
    os.kill(run.pid, signal.SIGCONT)
    wait_for(lambda: starts(parts, "second") == 2, 20, "the second version")
    wait_for(lambda: parts.types() == ["fuse.ebbfs"], 10, "the mount")
    end(parts, run)


def test_without_an_earlier_version_it_waits_for_a_new_mount(parts):
    parts.environment["EBBFS_FAIL_OPEN_AFTER"] = "2s"
    foreign = os.path.join(parts.base, "foreign")
    install(parts.bin, "only", first=f"if os.path.exists({foreign!r}): {REFUSE}")
    run = run_talking(parts)
    with open(foreign, "wb"):
        pass
    os.kill(parts.pid("fusefs"), signal.SIGKILL)
    parts.wait_log("no version that ran before is at hand")
    parts.wait_log("is the plain directory", 20)
    assert parts.sees_plain() and "(the version that ran before)" not in parts.log()
    os.unlink(foreign)
    wait_for(lambda: parts.types() == ["fuse.ebbfs"], 20, "the mount")
    end(parts, run)


# ---- taking over


@pytest.mark.parametrize("dead", [[], ["anchor"], ["fusefs"], ["uploader"], ["fusefs", "uploader"]], ids="+".join)
def test_what_was_left_is_replaced_without_a_break(parts, dead):
    run = run_talking(parts)
    with Looker(parts) as looker:
        for _ in range(2):
            old = {part: parts.pid(part) for part in PARTS}
            run.kill()
            run.wait()
            for part in dead:
                os.kill(old[part], signal.SIGKILL)
            run = parts.run()
            looker.goes_on()
            assert not any(process.is_alive(pid) for pid in old.values())
    assert "is the plain directory" not in parts.log() and "dead mount" not in parts.log()
    end(parts, run)


def test_killed_again_and_again_while_it_takes_over(parts):
    run = run_talking(parts)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with Looker(parts) as looker:
        for _ in range(15):
            run.kill()
            run.wait()
            run = parts.start(EBBFS, "run")
            time.sleep(dice.random() * 0.3)
        run.kill()
        run.wait()
        run = parts.run()
        looker.goes_on()
        children = [pid for pid in process.with_environment(f"EBBFS_RUN={parts.run_dir}") if pid != run.pid]
        assert sorted(children) == sorted(parts.pid(part) for part in PARTS)
    assert "is the plain directory" not in parts.log()
    end(parts, run)


def test_a_leftover_that_hangs_is_replaced_as_well(parts):
    run = run_talking(parts)
    old = parts.pid("fusefs")
    with Looker(parts) as looker:
        run.kill()
        run.wait()
        os.kill(old, signal.SIGSTOP)
        run = parts.run()
        looker.goes_on()
    assert not process.is_alive(old)
    end(parts, run)


def test_an_end_while_taking_over_ends_all(parts):
    run = run_talking(parts)
    old = parts.pid("fusefs")
    run.kill()
    run.wait()
    os.kill(old, signal.SIGSTOP)  # so that taking over takes its time
    run = parts.start(EBBFS, "run")
    parts.wait_log("an earlier run left fusefs")
    run.terminate()
    assert run.wait(40 * FACTOR) == 1  # it had to be forced
    assert parts.types() == [] and parts.sees_plain()
    assert process.with_environment(f"EBBFS_RUN={parts.run_dir}") == []


def test_leftovers_of_another_directory_are_ended(parts):
    run = run_talking(parts)
    run.kill()
    run.wait()
    first = parts.data
    parts.data = parts.environment["EBBFS_DATA"] = os.path.join(parts.base, "other")
    os.mkdir(parts.data)
    with open(os.path.join(parts.data, "plain"), "wb"):
        pass
    run = parts.run()
    assert parts.types(first) == [] and "plain" in os.listdir(first)
    assert parts.types() == ["fuse.ebbfs"]
    end(parts, run)


# ---- the end, and our own supervisor


def test_the_end_with_an_s3_that_hangs(make_box):
    box = make_box().start()
    rule = box.server.fault("stall", operation="PutObject")
    box.write("file")
    wait_for(lambda: box.server.fault_state(rule)["waiting"] > 0, 20, "a PUT under way")
    ended = box.process
    ended.send_signal(signal.SIGTERM)
    wait_for(lambda: "first everything that was closed" in box.log(), 10, "the draining")
    ended.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        ended.wait(0.3)  # it has its chance to finish
    assert ended.wait(20 * FACTOR) == 0
    assert "does not end" not in box.log()
    box.process = None
    assert not box.is_mounted() and not box.pids()


def test_it_tells_its_own_supervisor(parts):
    path = os.path.join(parts.base, "above")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as above:
        above.bind(path)
        above.settimeout(20 * FACTOR)
        run = parts.run(NOTIFY_SOCKET=path, WATCHDOG_USEC="200000")
        said = {above.recv(100) for _ in range(5)}
        assert said == {b"READY=1", b"WATCHDOG=1"}
        entries = process.read(f"/proc/{parts.pid('anchor')}/environ").split(b"\0")
        assert f"NOTIFY_SOCKET={parts.run_dir}/notify".encode() in entries and b"WATCHDOG_USEC=3000000" in entries
    end(parts, run)
