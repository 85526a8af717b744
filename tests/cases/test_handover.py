"""The mount outlives ebbfs-anchor and fusefs (a stand-in), one after the other; and steps aside when nothing serves."""

import errno
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest

from lib import fake_fusefs
from lib.fake_fusefs import ALIVE, ATTACH, GRANT, MOUNTED, PIN, RETURN, SERVING, TAKEN, UNPIN, handover
from lib.parts import FAKE_FUSEFS, Parts, elsewhere
from lib.wait import FACTOR, wait_for

pytestmark = pytest.mark.sanitize
SOON = {"EBBFS_FAIL_OPEN_AFTER": f"{FACTOR:g}s"}
ABORTED = "Software caused connection abort"


@pytest.fixture
def parts():
    made = Parts()
    made.held = []
    yield made
    print(made.log())
    release(made)
    made.close()


def connect(parts):
    peer = fake_fusefs.connect(parts.run_dir)
    peer.settimeout(10)
    return peer


def attached(parts):
    """A connection that was granted everything, and what it was. What it was is ours until release()."""
    peer = connect(parts)
    fds, pins = fake_fusefs.attach(peer)
    parts.held += [*fds, *pins.values()]
    return peer, fds, pins


def served(parts):
    """The same, and its mount is seen."""
    peer, fds, pins = attached(parts)
    connection = fake_fusefs.Connection(fds, pins, peer)
    connection.begin()
    assert connection.say_serving() == 0
    return peer, fds, pins


def release(parts):
    while parts.held:
        os.close(parts.held.pop())


def end(process):
    process.kill()
    process.wait()


def last_attached(parts):
    return [line for line in parts.log().splitlines() if line.startswith("fake: attached")][-1]


def stay_away(call, seconds=0.3):
    with pytest.raises(subprocess.TimeoutExpired):
        call.wait(seconds)


# ---- fusefs goes

def test_a_call_in_flight_is_answered_by_the_next_fusefs(parts):
    parts.anchor()
    fusefs = parts.fusefs()
    call = parts.held_call("later")
    end(fusefs)
    late = parts.call("any")
    stay_away(call)
    stay_away(late, 0.1)
    parts.fusefs()
    for answered in (call, late):
        assert "No such file" in answered.communicate(timeout=10)[1]
    assert last_attached(parts) == "fake: attached resumed=True pins={}"
    assert parts.types() == ["fuse.ebbfs"] and "fusefs serves again after" in parts.log()


def test_a_fusefs_that_is_asked_to_end_leaves_the_connection(parts):
    parts.anchor()
    fusefs = parts.fusefs()
    fusefs.terminate()
    assert fusefs.wait(10) == 0
    call = parts.call("any")
    stay_away(call)
    parts.fusefs()
    assert "No such file" in call.communicate(timeout=10)[1]


def test_the_next_fusefs_may_attach_before_the_end_of_the_last_is_seen(parts):
    anchor = parts.anchor()
    first, _, _ = served(parts)
    anchor.send_signal(signal.SIGSTOP)
    first.sendall(handover(SERVING))
    first.close()
    second = connect(parts)
    second.sendall(handover(ATTACH))
    anchor.send_signal(signal.SIGCONT)
    _, error, _, _, fds = fake_fusefs.receive(second, 8)
    parts.held += fds
    assert error == 0


# ---- the anchor goes

@pytest.mark.parametrize("last", [signal.SIGKILL, signal.SIGTERM])
def test_a_new_anchor_takes_everything_back(parts, last):
    anchor = parts.anchor()
    fusefs = parts.fusefs()
    call = parts.held_call("later")
    anchor.send_signal(last)
    anchor.wait()
    assert os.listdir(parts.data) == []
    parts.anchor()
    parts.wait_log("took the mount back")
    end(fusefs)
    stay_away(call)
    parts.fusefs()
    assert "No such file" in call.communicate(timeout=10)[1]
    assert last_attached(parts) == "fake: attached resumed=True pins={}"
    assert parts.types() == ["fuse.ebbfs"]


def test_attaching_waits_until_the_mount_is_returned(parts):
    end(parts.anchor())
    anchor = parts.anchor()
    fusefs = parts.fusefs()
    fusefs.send_signal(signal.SIGSTOP)
    end(anchor)
    anchor = parts.anchor()
    waiting = [connect(parts) for _ in range(2)]
    for peer in waiting:
        peer.sendall(handover(ATTACH))
    parts.wait_log("waits: a mount of an earlier anchor is there")
    time.sleep(0.5)  # the look whether it is dead hangs, and holds up nobody
    fusefs.send_signal(signal.SIGCONT)
    for peer in waiting:
        assert fake_fusefs.receive(peer)[:2] == (GRANT, errno.EBUSY)
    assert "took the mount back" in parts.log()


def test_attaching_waits_until_the_orphaned_mount_is_dead(parts):
    anchor = parts.anchor()
    fusefs = parts.fusefs(FAKE_STAY="1")
    end(anchor)
    parts.anchor()
    waiting = parts.start(FAKE_FUSEFS)
    parts.wait_log("waits: a mount of an earlier anchor is there")
    assert parts.types() == ["fuse.ebbfs"]
    end(fusefs)
    wait_for(lambda: "fusefs serves" in parts.log().rpartition("waits:")[2], 10, "the attaching")
    assert last_attached(parts) == "fake: attached resumed=False pins={}" and waiting.poll() is None
    assert parts.types() == ["fuse.ebbfs"] and "unmounted a dead mount" in parts.log()


def test_an_orphaned_mount_that_nobody_returns(parts):
    anchor = parts.anchor()
    parts.fusefs(FAKE_STAY="1")
    call = parts.held_call("hang")
    end(anchor)
    anchor = parts.anchor(**SOON)
    assert parts.types() == ["fuse.ebbfs"]
    assert ABORTED in call.communicate(timeout=10)[1]
    assert parts.types() == [] and parts.sees_plain()
    parts.fusefs()
    assert parts.types() == ["fuse.ebbfs"] and last_attached(parts).endswith("resumed=False pins={}")


def test_a_stopped_fusefs_of_an_earlier_anchor(parts):
    anchor = parts.anchor()
    parts.fusefs(FAKE_STAY="1").send_signal(signal.SIGSTOP)
    call = parts.call("any")
    end(anchor)
    parts.anchor(**SOON)
    assert call.wait(10) == 1 and parts.types() == [] and parts.sees_plain()


def test_an_anchor_that_ends_while_the_mount_is_not_returned(parts):
    anchor = parts.anchor()
    fusefs = parts.fusefs(FAKE_STAY="1")
    end(anchor)
    anchor = parts.anchor()
    anchor.terminate()
    assert anchor.wait(10) == 0 and parts.types() == ["fuse.ebbfs"]
    anchor = parts.anchor()
    fusefs.kill()
    anchor.terminate()
    assert anchor.wait(10) == 0 and parts.types() == []


# ---- pins

def test_pins_survive_both(parts):
    anchor = parts.anchor()
    fusefs = parts.fusefs()
    for name in ("pin-7", "pin-8", "pin-9", "unpin-8"):
        parts.call(name).wait()
    end(fusefs)
    fusefs = parts.fusefs()
    assert last_attached(parts) == "fake: attached resumed=True pins={7: '7', 9: '9'}"
    end(anchor)
    parts.anchor()
    parts.wait_log("took the mount back")
    end(fusefs)
    fusefs = parts.fusefs()
    assert last_attached(parts) == "fake: attached resumed=True pins={7: '7', 9: '9'}"
    parts.call("unpin-0").wait()
    end(fusefs)
    parts.fusefs()
    assert last_attached(parts) == "fake: attached resumed=True pins={}"


def test_many_pins_block_nobody(parts):
    parts.anchor()
    peer, fds, _ = served(parts)
    for node in range(1, 3001):
        socket.send_fds(peer, [handover(PIN, node=node)], [fds[0]])
    peer.sendall(handover(UNPIN, node=3000))
    peer.close()
    slow = connect(parts)
    slow.sendall(handover(ATTACH))
    parts.wait_log("pins=2999")
    with connect(parts) as other:  # while the pins are not read
        other.sendall(handover(ATTACH))
        assert fake_fusefs.receive(other)[:2] == (GRANT, errno.EBUSY)
    kind, _, count, _, granted = fake_fusefs.receive(slow, 8)
    parts.held += granted
    assert (kind, count, len(granted)) == (GRANT, 2999, 3)
    seen = set()
    for _ in range(count):
        kind, _, _, node, (pin,) = fake_fusefs.receive(slow, 1)
        os.close(pin)
        assert kind == PIN
        seen.add(node)
    assert seen == set(range(1, 3000))


def test_one_that_dies_before_it_has_read_its_pins(parts):
    parts.anchor()
    peer, fds, _ = served(parts)
    for node in range(1, 1001):
        socket.send_fds(peer, [handover(PIN, node=node)], [fds[0]])
    peer.close()
    slow = connect(parts)
    slow.sendall(handover(ATTACH))
    parts.wait_log("pins=1000")
    slow.close()
    _, _, pins = attached(parts)
    assert len(pins) == 1000


def test_without_descriptors_to_spare_it_goes_on(parts):
    parts.anchor("prlimit", "--nofile=100:100")
    peer, _, _ = served(parts)
    pin = os.memfd_create("pin")
    parts.held.append(pin)
    for node in range(1, 201):
        socket.send_fds(peer, [handover(PIN, node=node)], [pin])
    peer.close()
    parts.fusefs()
    assert parts.log().count("cannot keep a descriptor") == 1
    assert parts.log().count("pins=36") == 1 and parts.types() == ["fuse.ebbfs"]


# ---- a mount is seen once it answers

class Plain:
    """Looks at the plain directory and writes there, all the time: it must never be hidden, and no call may hang."""

    def __init__(self, parts):
        self.parts, self.longest, self.rounds, self.ended = parts, 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.ended.wait(0.001):
            began = time.monotonic()
            with open(f"{self.parts.data}/written-{self.rounds}", "wb"):
                pass
            if not self.parts.sees_plain():
                return
            self.longest = max(self.longest, time.monotonic() - began)
            self.rounds += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)
        rounds = len([name for name in os.listdir(self.parts.data) if name.startswith("written")])
        assert not self.thread.is_alive() and rounds == self.rounds > 10, (rounds, self.rounds)
        assert self.longest < 0.3 * FACTOR, self.longest


def assert_ended(fds):
    """Who is given up may hold /dev/fuse still: reading fails, after what was in the queue."""
    with pytest.raises(OSError, match="No such device"):
        for _ in range(3):
            os.read(fds[1], 1 << 20)


@pytest.mark.parametrize("first", [True, False], ids=["first", "after-fail-open"])
@pytest.mark.parametrize("how", ["crashes", "hangs", "init-crashes", "init-hangs"])
def test_what_cannot_serve_is_never_seen(parts, how, first):
    parts.anchor(**SOON)
    if not first:
        end(parts.fusefs())
        parts.wait_log("stepped aside")
    with Plain(parts):
        for attempt in range(1, 4):
            unable = parts.start(FAKE_FUSEFS, FAKE_UNABLE=how)
            wait_for(lambda: parts.log().count("nothing was mounted") == attempt, 10, "the end of it")
            unable.kill()
            unable.wait()
    parts.fusefs()
    assert parts.types() == ["fuse.ebbfs"] and last_attached(parts).endswith("resumed=False pins={}")
    assert os.listdir(parts.data) == []


def test_one_that_hangs_and_holds_on(parts):
    """It is given up: the next one need not wait for its end."""
    parts.anchor(**SOON)
    peer, fds, _ = attached(parts)
    assert parts.types() == [] and parts.sees_plain()
    assert peer.recv(64) == b""
    assert_ended(fds)
    peer, fds, _ = attached(parts)
    fake_fusefs.Connection(fds, {}, peer).begin()
    peer.sendall(handover(SERVING))
    assert peer.recv(64) == b"" and parts.types() == []
    assert_ended(fds)
    parts.fusefs()
    assert parts.types() == ["fuse.ebbfs"]


def test_one_that_answers_with_an_error(parts):
    parts.anchor()
    peer, fds, _ = attached(parts)
    fake_fusefs.Connection(fds, {}, peer).begin()
    peer.sendall(handover(SERVING))
    opcode = None
    while opcode != fake_fusefs.GETATTR:
        _, opcode, unique, _ = struct.unpack_from("=IIQQ", os.read(fds[1], 1 << 20))
        fake_fusefs.reply(fds[1], unique, error=-errno.EIO)
    assert fake_fusefs.receive(peer)[:2] == (MOUNTED, errno.EIO)
    assert peer.recv(64) == b"" and parts.types() == []
    assert_ended(fds)
    parts.fusefs()


def test_a_place_that_cannot_be_mounted_on_any_more(parts):
    parts.anchor()
    peer, fds, _ = attached(parts)
    connection = fake_fusefs.Connection(fds, {}, peer)
    connection.begin()
    os.rename(parts.data, parts.data + "-moved")
    assert connection.say_serving() == errno.ENOENT
    assert peer.recv(64) == b""
    assert_ended(fds)
    os.rename(parts.data + "-moved", parts.data)
    parts.fusefs()
    assert parts.types() == ["fuse.ebbfs"]


def test_saying_it_again_changes_nothing(parts):
    parts.anchor()
    peer, fds, _ = attached(parts)
    connection = fake_fusefs.Connection(fds, {}, peer)
    connection.begin()
    peer.sendall(handover(SERVING))
    peer.sendall(handover(ALIVE))
    assert connection.say_serving() == 0 and parts.types() == ["fuse.ebbfs"]
    assert connection.say_serving() == 0 and parts.types() == ["fuse.ebbfs"]
    assert parts.log().count("mounted at") == 1


@pytest.mark.parametrize("last", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("asked", [False, True], ids=["attached", "asked"])
def test_an_anchor_that_ends_before_the_mount_is_seen(parts, asked, last):
    """The mount ends with it, or with the answer to what it had asked: there is nothing to be returned."""
    _, data, _ = elsewhere(parts)
    anchor = parts.anchor()
    peer, fds, _ = attached(parts)
    connection = fake_fusefs.Connection(fds, {}, peer)
    connection.begin()
    if asked:
        peer.sendall(handover(SERVING))
        wait_for(lambda: select.select([fds[1]], [], [], 0)[0], 10, "the question")
    anchor.send_signal(last)
    anchor.wait()
    assert parts.types(data) == ([] if last == signal.SIGTERM else ["tmpfs"])
    parts.anchor()
    with connect(parts) as new:
        socket.send_fds(new, [handover(RETURN)], fds)
        assert fake_fusefs.receive(new)[:2] == (TAKEN, errno.ESTALE)
    if asked and last == signal.SIGKILL:
        connection.serve_request()
    wait_for(lambda: select.select([fds[1]], [], [], 0)[0] and connection.serve_request() is None, 10,
             "the end of the connection")
    assert parts.types(data) == ["tmpfs"] and parts.sees_plain(data)
    parts.fusefs()
    assert parts.types(data) == ["fuse.ebbfs", "tmpfs"]


# ---- what is returned

def test_what_is_no_mount_is_not_taken(parts):
    parts.anchor()
    fds = [os.open(parts.data, os.O_RDONLY), os.open("/dev/fuse", os.O_RDWR), os.memfd_create("state")]
    wrong = [os.open("/dev/null", os.O_RDWR)] * 3
    for given, expected in ((fds, errno.ESTALE), (wrong, errno.ENOTDIR), (fds[:1], errno.EINVAL),
                            (fds[:2] + wrong[:1], errno.EBADF), ([], errno.EINVAL)):
        with connect(parts) as peer:
            socket.send_fds(peer, [handover(RETURN)], given)
            assert fake_fusefs.receive(peer)[:2] == (TAKEN, expected)
    for fd in fds + wrong[:1]:
        os.close(fd)
    parts.fusefs()


def test_another_mount_is_not_taken(parts):
    """Somebody else's connection, alive, for the orphaned one."""
    anchor = parts.anchor()
    parts.fusefs(FAKE_STAY="1")
    end(anchor)
    parts.anchor()
    other = Parts()
    other.held = []
    try:
        other.anchor()
        _, fds, _ = attached(other)
        with open(f"/proc/self/fdinfo/{fds[1]}", encoding="ascii") as file:
            if "fuse_connection" not in file.read():
                pytest.skip("this kernel does not tell which connection /dev/fuse is of")
        with connect(parts) as peer:
            socket.send_fds(peer, [handover(RETURN)], fds)
            assert fake_fusefs.receive(peer)[:2] == (TAKEN, errno.ESTALE)
    finally:
        release(other)
        other.close()
    assert parts.types() == ["fuse.ebbfs"]


def test_one_that_dies_in_the_middle_of_returning(parts):
    """What it gave is kept: the next one goes on with it."""
    anchor = parts.anchor()
    _, fds, _ = served(parts)
    end(anchor)
    parts.anchor()
    with connect(parts) as new:
        socket.send_fds(new, [handover(RETURN, count=2)], fds)
        socket.send_fds(new, [handover(PIN, node=5)], [fds[0]])
        release(parts)
    parts.wait_log("nothing serves")
    peer, fds, pins = attached(parts)
    assert list(pins) == [5] and os.fstat(fds[2]).st_size > 0 and stat.S_ISCHR(os.fstat(fds[1]).st_mode)
    assert parts.types() == ["fuse.ebbfs"]


# ---- fail-open

@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_steps_aside_when_nothing_serves(parts, how):
    parts.anchor(**SOON)
    fusefs = parts.fusefs()
    parts.call("pin-7").wait()
    time.sleep(0.6 * FACTOR)
    call = parts.held_call("hang")
    fusefs.send_signal(how)
    started = time.monotonic()
    late = parts.call("any")
    assert ABORTED in call.communicate(timeout=10)[1]
    took = time.monotonic() - started
    assert 0.7 * FACTOR < took < 2.5 * FACTOR, took
    assert late.wait(10) == 1
    assert parts.types() == [] and parts.sees_plain()
    assert "nothing serves since" in parts.log() and "nothing has served for" in parts.log()
    if how == signal.SIGSTOP:
        fusefs.send_signal(signal.SIGCONT)
        assert fusefs.wait(10) == 1
    parts.fusefs()
    assert parts.types() == ["fuse.ebbfs"] and last_attached(parts) == "fake: attached resumed=False pins={}"


def test_a_loop_of_crashes_ends_in_stepping_aside(parts):
    parts.anchor(**SOON)
    fusefs = parts.fusefs()
    time.sleep(0.6 * FACTOR)
    end(fusefs)
    started = time.monotonic()
    while "stepped aside" not in parts.log():
        assert time.monotonic() - started < 5 * FACTOR
        parts.fusefs(FAKE_BRIEF="1").wait()
    assert parts.log().count("fusefs serves again") > 1


def test_one_that_stays_stops_the_countdown(parts):
    parts.anchor(**SOON)
    fusefs = parts.fusefs()
    for _ in range(4):
        time.sleep(0.7 * FACTOR)
        end(fusefs)
        fusefs = parts.fusefs()
    time.sleep(1.5 * FACTOR)
    assert "stepped aside" not in parts.log() and parts.types() == ["fuse.ebbfs"]


def test_a_stop_that_ends_in_time_is_nothing(parts):
    parts.anchor(EBBFS_FAIL_OPEN_AFTER=f"{3 * FACTOR:g}s")
    fusefs = parts.fusefs()
    time.sleep(1 * FACTOR)
    fusefs.send_signal(signal.SIGSTOP)
    parts.wait_log("fell silent")
    fusefs.send_signal(signal.SIGCONT)
    parts.wait_log("fusefs serves again")
    time.sleep(3.2 * FACTOR)
    assert "stepped aside" not in parts.log() and parts.types() == ["fuse.ebbfs"]


def test_time_in_which_the_anchor_itself_stood_still_does_not_count(parts):
    anchor = parts.anchor(**SOON)
    fusefs = parts.fusefs()
    time.sleep(0.6 * FACTOR)
    for process in (fusefs, anchor):  # a frozen container
        process.send_signal(signal.SIGSTOP)
    time.sleep(2 * FACTOR)
    anchor.send_signal(signal.SIGCONT)
    time.sleep(0.2 * FACTOR)
    fusefs.send_signal(signal.SIGCONT)
    time.sleep(1.5 * FACTOR)
    assert "stepped aside" not in parts.log() and parts.types() == ["fuse.ebbfs"]


def test_a_mount_that_somebody_took_away(parts):
    parts.anchor()
    fusefs = parts.fusefs()
    subprocess.run(["umount", parts.data], check=True)
    assert fusefs.wait(10) == 1
    parts.fusefs()
    assert parts.types() == ["fuse.ebbfs"] and last_attached(parts).endswith("resumed=False pins={}")


def test_what_others_mounted_over_it_stays(parts):
    parts.anchor(**SOON)
    fusefs = parts.fusefs()
    below = os.open(parts.data, os.O_RDONLY)
    parts.held.append(below)
    subprocess.run(["mount", "-t", "tmpfs", "none", parts.data], check=True)
    call = parts.call("hang", f"/proc/{os.getpid()}/fd/{below}")
    parts.wait_log("fake: holds hang")
    fusefs.send_signal(signal.SIGSTOP)
    assert ABORTED in call.communicate(timeout=10)[1]
    assert parts.types()[0] == "tmpfs" and "gone or covered" in parts.log()


# ---- backing elsewhere, other namespaces

def test_backing_elsewhere_steps_aside_to_the_bind(parts):
    volume, data, seen_by_vendor = elsewhere(parts)
    anchor = parts.anchor(**SOON)
    end(parts.fusefs())
    parts.wait_log("stepped aside")
    assert parts.types(data) == parts.types(seen_by_vendor) == ["tmpfs"] and parts.sees_plain(seen_by_vendor)
    fusefs = parts.fusefs()
    assert parts.types(data) == ["fuse.ebbfs", "tmpfs"] and parts.sees_plain(volume)
    end(fusefs)
    parts.wait_log("nothing serves")
    anchor.terminate()
    assert anchor.wait(10) == 0
    assert parts.types(data) == parts.types(seen_by_vendor) == []
    assert not os.path.exists(f"{parts.run_dir}/anchor.bound")


def test_backing_elsewhere_is_returned_and_undone(parts):
    _, data, seen_by_vendor = elsewhere(parts)
    end_of_first = parts.anchor()
    fusefs = parts.fusefs()
    end(end_of_first)
    anchor = parts.anchor()
    parts.wait_log("took the mount back")
    assert parts.types(data) == ["fuse.ebbfs", "tmpfs"]
    end(fusefs)
    fusefs = parts.fusefs()
    assert last_attached(parts) == "fake: attached resumed=True pins={}"
    end(fusefs)
    wait_for(lambda: parts.log().count("nothing serves") == 2, 5)
    anchor.terminate()
    assert anchor.wait(10) == 0
    assert parts.types(data) == parts.types(seen_by_vendor) == []
    assert not os.path.exists(f"{parts.run_dir}/anchor.bound")


def test_seen_in_another_mount_namespace(parts):
    volume = os.path.join(parts.base, "volume")
    os.mkdir(volume)
    subprocess.run(["mount", "-t", "tmpfs", "none", volume], check=True)
    subprocess.run(["mount", "--make-rshared", volume], check=True)
    data = os.path.join(volume, "data")
    os.mkdir(data)
    with open(os.path.join(data, "plain"), "wb"):
        pass
    parts.environment.update(EBBFS_DATA=data)
    vendor = parts.start("unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo in; exec sleep 1000")
    parts.wait_log("in\n")
    there = f"/proc/{vendor.pid}/root{data}"
    parts.anchor(**SOON)
    fusefs = parts.fusefs()
    assert os.listdir(there) == []
    call = parts.call("hang", there)
    parts.wait_log("fake: holds hang")
    fusefs.send_signal(signal.SIGSTOP)
    assert ABORTED in call.communicate(timeout=10)[1]
    assert os.listdir(there) == ["plain"]
    parts.fusefs()
    assert os.listdir(there) == []


def test_tells_its_supervisor(parts):
    path = os.path.join(parts.base, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path)
        supervisor.settimeout(10)
        parts.anchor(NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
        said = {supervisor.recv(64) for _ in range(4)}
        assert said == {b"READY=1", b"WATCHDOG=1"}
