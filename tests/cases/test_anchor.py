"""ebbfs-anchor with a stand-in for fusefs: mounts, hands over, ends, and is never held up."""

import errno
import os
import signal
import socket
import stat
import subprocess
import time

import pytest

from lib.fake_fusefs import ATTACH, GRANT, handover
from lib.parts import ANCHOR, FAKE_FUSEFS, Parts, dead_mount, elsewhere
from lib.wait import wait_for

pytestmark = pytest.mark.sanitize


@pytest.fixture
def parts():
    made = Parts()
    yield made
    print(made.log())
    made.close()


def connect(parts):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(10)
    peer.connect(f"{parts.run_dir}/anchor")
    return peer


def test_mounts_at_attach_only(parts):
    parts.anchor()
    assert parts.types() == []
    assert stat.S_IMODE(os.stat(f"{parts.run_dir}/anchor").st_mode) == 0o600
    parts.fusefs()
    with open("/proc/self/mountinfo", encoding="ascii") as file:
        line, = (line for line in file if f" {parts.data} " in line)
    assert " rw,nosuid,nodev,relatime" in line and " fuse.ebbfs ebbfs " in line
    assert "default_permissions" in line and "allow_other" in line
    assert not parts.sees_plain()


def test_grants_what_was_there_before(parts):
    parts.anchor()
    with connect(parts) as peer:
        peer.sendall(handover(ATTACH))
        _, (backing, fuse, state), _, _ = socket.recv_fds(peer, 64, 8)
        assert os.listdir(f"/proc/self/fd/{backing}") == ["plain"]
        assert os.stat(fuse).st_rdev == os.stat("/dev/fuse").st_rdev
        assert os.fstat(state).st_size == 0
        os.ftruncate(state, 4096)
        for fd in (backing, fuse, state):
            os.close(fd)


def test_only_one_anchor(parts):
    parts.anchor()
    second = parts.anchor(ready=False)
    assert second.wait(10) == 1
    assert "another ebbfs-anchor runs" in parts.log()


def test_only_one_fusefs(parts):
    parts.anchor()
    parts.fusefs()
    second = subprocess.run([FAKE_FUSEFS], env=parts.environment, capture_output=True, check=False)
    assert os.strerror(errno.EBUSY).encode() in second.stderr


def test_another_version_is_refused(parts):
    parts.anchor()
    with connect(parts) as peer:
        peer.sendall(handover(ATTACH, version=1))
        assert peer.recv(64) == handover(GRANT, errno.EPROTO)
    assert parts.types() == []


def test_dead_mounts_are_cleared_away(parts):
    for _ in range(3):
        dead_mount(parts.data)
    with pytest.raises(OSError):
        os.listdir(parts.data)
    parts.anchor()
    wait_for(lambda: parts.types() == [], 5, "the plain directory")
    assert parts.log().count("unmounted a dead mount") == 3 and parts.sees_plain()
    parts.fusefs()


@pytest.mark.parametrize("message", [b"x", b"x" * 16, b"x" * 70000, handover(GRANT)[:-1], b"\0" * 16])
def test_garbage_is_dropped(parts, message):
    parts.anchor()
    with connect(parts) as peer:
        peer.sendall(message)
        assert peer.recv(64) == b""
    parts.fusefs()


def test_silent_peers_hold_up_nobody(parts):
    parts.anchor()
    silent = [connect(parts) for _ in range(40)]
    started = time.monotonic()
    parts.fusefs()
    assert time.monotonic() - started < 4
    for peer in silent:
        peer.close()
    with connect(parts) as peer:
        assert peer.recv(64) == b"", "dropped at its deadline"


def test_garbage_beside_an_attached_fusefs(parts):
    parts.anchor()
    parts.fusefs()
    with connect(parts) as peer:
        peer.sendall(b"garbage")
        assert peer.recv(64) == b""
    assert parts.types() == ["fuse.ebbfs"]


def test_the_end_without_fusefs(parts):
    anchor = parts.anchor()
    fusefs = parts.fusefs()
    call = parts.held_call("hang")
    fusefs.kill()
    parts.wait_log("nothing serves")
    anchor.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        anchor.wait(0.3)
    assert call.poll() is None and parts.types() == ["fuse.ebbfs"]
    anchor.terminate()
    assert anchor.wait(10) == 0
    assert call.wait(10) == 1 and parts.types() == [] and parts.sees_plain()


def test_the_end_with_fusefs_leaves_the_mount(parts):
    anchor = parts.anchor()
    parts.fusefs()
    anchor.terminate()
    assert anchor.wait(10) == 0
    assert parts.types() == ["fuse.ebbfs"]
    assert os.listdir(parts.data) == []


def test_backing_elsewhere_propagates_outward_only(parts):
    volume, data, seen_by_vendor = elsewhere(parts)
    anchor = parts.anchor(EBBFS_FAIL_OPEN_AFTER="500ms")
    assert parts.sees_plain(data) and parts.sees_plain(seen_by_vendor)
    fusefs = parts.fusefs()
    assert parts.types(data)[0] == parts.types(seen_by_vendor)[0] == "fuse.ebbfs"
    assert parts.types(volume) == ["tmpfs"] and parts.sees_plain(volume)
    fusefs.kill()
    parts.wait_log("stepped aside")
    assert parts.types(seen_by_vendor) == ["tmpfs"]
    assert parts.sees_plain(seen_by_vendor)
    anchor.terminate()
    assert anchor.wait(10) == 0
    assert parts.types(data) == parts.types(seen_by_vendor) == []


def test_a_bind_that_a_killed_anchor_left_is_taken_over(parts):
    _, data, _ = elsewhere(parts)
    first = parts.anchor()
    first.kill()
    first.wait()
    second = parts.anchor()
    assert parts.types(data) == ["tmpfs"], "one bind, not two"
    second.terminate()
    assert second.wait(10) == 0
    assert parts.types(data) == []


def test_a_bind_of_the_operators_own_stays(parts):
    volume, data, _ = elsewhere(parts)
    subprocess.run(["mount", "--bind", volume, data], check=True)
    anchor = parts.anchor()
    anchor.terminate()
    assert anchor.wait(10) == 0
    assert parts.types(data) == ["tmpfs"]


def test_without_the_privilege_it_says_so(parts):
    parts.anchor("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    refused = subprocess.run([FAKE_FUSEFS], env=parts.environment, capture_output=True, check=False)
    assert os.strerror(errno.EPERM).encode() in refused.stderr
    assert "needs CAP_SYS_ADMIN" in parts.log() and parts.types() == []


@pytest.mark.parametrize("name, value, code", [
    ("EBBFS_DATA", "relative", 2), ("EBBFS_LOG", "loud", 2), ("EBBFS_DATA", "/nonexistent", 1),
    ("EBBFS_BACKING", "/etc/passwd", 1), ("EBBFS_RUN", "/etc/passwd/run", 1)])
def test_wrong_configuration(parts, name, value, code):
    answer = subprocess.run([ANCHOR], env={**parts.environment, name: value}, capture_output=True, text=True,
                            timeout=20, check=False)
    assert answer.returncode == code and value in answer.stderr and answer.stderr.count("\n") == 1
