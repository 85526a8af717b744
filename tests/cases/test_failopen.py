"""Nothing can serve any more: the mount steps aside, also in the vendor's mount namespace, and comes back.

As in Kubernetes: a shared volume; ebbfs in a mount namespace whose mounts propagate outward (Bidirectional), the vendor
in one that receives (HostToContainer), and the host itself, which this process is.
"""

import os
import signal
import subprocess
import time

import pytest

from lib import fake_fusefs, process
from lib.mount import PROGRAM_DIRS
from lib.vendor import Vendor
from lib.wait import FACTOR, wait_for

AFTER_S = 2
ABORTED = {"ENOTCONN", "ECONNABORTED", "ENODEV", "EIO"}


class Pod:
    """A box whose data directory lies on a volume that is shared between mount namespaces."""

    def __init__(self, box, elsewhere):
        self.box, self.vendors, self.volumes = box, [], []
        box.copy_programs()
        box.set(EBBFS_FAIL_OPEN_AFTER=f"{AFTER_S}s")
        # The processes of a container have a mount namespace of their own, a copy of the host's.
        box.launch_as = ["unshare", "--mount", "--propagation", "unchanged"]
        if elsewhere:
            box.set(EBBFS_BACKING=os.path.join(box.base, "backing"))
            os.mkdir(box.environment["EBBFS_BACKING"])
            os.close(box.backing_fd)
            box.backing_fd = os.open(box.environment["EBBFS_BACKING"], os.O_RDONLY | os.O_DIRECTORY)
        self.share(box.base)

    def share(self, path):
        subprocess.run(["mount", "--bind", path, path], check=True)
        subprocess.run(["mount", "--make-rshared", path], check=True)
        self.volumes.append(path)

    def vendor(self, name, command=()):
        self.vendors.append(Vendor(self.box, name, command))
        return self.vendors[-1]

    def both(self):
        """One on the host, one in a namespace of its own; both at work."""
        for vendor in (self.vendor("on-the-host"), self.vendor("in-the-pod", Vendor.SLAVE)):
            vendor.wait_for_rounds(20, plain=False)
        return self.vendors

    def wait_for_mount(self, there, seconds=20):
        """Here and in the namespaces of the vendors."""
        def all_see():
            return all((vendor.sees(self.box.data)[:1] == ["fuse.ebbfs"]) == there for vendor in self.vendors) and (
                self.box.is_mounted() == there)
        wait_for(all_see, seconds, f"the mount to be {'there' if there else 'gone'} in every namespace")

    def end(self):
        for vendor in self.vendors:
            vendor.end()

    def close(self):
        for vendor in self.vendors:
            if vendor.process.poll() is None:
                vendor.process.kill()
                vendor.process.wait()
        if self.box.process is not None and self.box.process.poll() is None:
            self.box.stop()
        for path in reversed(self.volumes):
            subprocess.run(["umount", path], check=True)


@pytest.fixture
def make_pod(make_box):
    pods = []

    def make(elsewhere=False):
        pods.append(Pod(make_box(), elsewhere))
        return pods[-1]
    yield make
    for pod in pods:
        pod.close()


@pytest.fixture
def make_alone():
    """Ended with the test, whatever came of it."""
    made = []

    def make(box, *parts):
        made.append(Alone(box))
        return made[-1].start_all(*parts or ("anchor", "fusefs", "uploader"))
    yield make
    for alone in made:
        for started in alone.processes.values():
            if started.poll() is None:
                started.kill()
                started.wait()


@pytest.fixture(params=[False, True], ids=["in-place", "elsewhere"])
def pod(make_pod, request):
    return make_pod(request.param)


def assert_arrived(box):
    """Every file with its bytes; what was open when the mount stepped aside as well."""
    box.settle_down(60)
    objects = box.bucket.objects()
    for key, digest in box.tree().items():
        assert key in objects and objects[key]["sha256"] == digest, key


def assert_failed_only_at(vendor, since, until):
    """New files: what was pending when the mount stepped aside, and nothing else."""
    failed = vendor.failed()
    assert len(failed) <= 2, failed
    for entry in failed:
        assert since <= entry["ended"] <= until and entry["error"] in ABORTED, (since, until, entry)


def assert_descriptors_went_on(vendor):
    """Through passthrough an open file never notices."""
    if os.environ.get("EBBFS_PASSTHROUGH") != "no":
        assert vendor.failed("old") == []
        assert vendor.gap("old") < 1 * FACTOR, vendor.gap("old")


def assert_felt_only_at(vendors, since, aside):
    """What both saw of the mount that stepped aside at `aside`, after trouble that began at `since`."""
    for vendor in vendors:
        vendor.report(since)
        assert_failed_only_at(vendor, since, aside + 0.5 * FACTOR)
        assert_descriptors_went_on(vendor)


@pytest.mark.parametrize("script", ["exec sleep 1000", "exit 1"], ids=["hangs", "crashes"])
def test_fail_open_and_back(pod, script):
    box = pod.box.start()
    vendors = pod.both()
    good = os.path.join(PROGRAM_DIRS[2], "ebbfs-fusefs")
    box.replace_program("ebbfs-fusefs", script=script)
    killed = time.monotonic()
    box.kill("ebbfs-fusefs")
    pod.wait_for_mount(False)
    aside = time.monotonic()
    assert aside - killed >= AFTER_S - 0.1
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=True)
    box.replace_program("ebbfs-fusefs", source=good)
    for pid in box.pids("sleep"):
        os.kill(pid, signal.SIGKILL)
    pod.wait_for_mount(True)
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=False)
    pod.end()
    assert_felt_only_at(vendors, killed, aside)
    for vendor in vendors:
        assert AFTER_S - 0.2 <= vendor.gap(since=killed) < AFTER_S + 1 * FACTOR
    assert_arrived(box)


UNABLE = ["crashes", "hangs", "init-crashes", "init-hangs"]


def kill_unable(box):
    """`ebbfs run` would do it, but gives one that hangs half a minute for its start."""
    for pid in box.pids("python3"):
        os.kill(pid, signal.SIGKILL)


def assert_hidden_from_nobody(vendors, since, until):
    for vendor in vendors:
        assert not [entry for entry in vendor.failed(since=since) if entry["ended"] <= until]
        rounds = [entry for entry in vendor.done(since=since) if entry["ended"] <= until]
        assert len(rounds) >= 20 and all(entry["plain"] for entry in rounds)
        assert max(entry["ended"] - entry["began"] for entry in rounds) < 0.5 * FACTOR


@pytest.mark.parametrize("how", UNABLE)
def test_after_a_fail_open_what_cannot_serve_hides_nothing(pod, how):
    box = pod.box.start()
    vendors = pod.both()
    box.replace_program("ebbfs-fusefs", script=f"FAKE_UNABLE={how} exec python3 {fake_fusefs.__file__}")
    box.kill("ebbfs-fusefs")
    pod.wait_for_mount(False)
    time.sleep(0.5 * FACTOR)
    since = time.monotonic()
    for attempt in range(1, 3):
        kill_unable(box)
        wait_for(lambda: box.log().count("nothing was mounted") >= attempt, 10 * AFTER_S, "an attempt")
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=True)
    until = time.monotonic()
    assert not box.is_mounted()
    box.replace_program("ebbfs-fusefs", source=os.path.join(PROGRAM_DIRS[2], "ebbfs-fusefs"))
    kill_unable(box)
    pod.wait_for_mount(True)
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=False)
    pod.end()
    assert_hidden_from_nobody(vendors, since, until)
    assert_arrived(box)


@pytest.mark.parametrize("how", UNABLE)
def test_at_the_first_start_what_cannot_serve_hides_nothing(make_pod, make_alone, how):
    pod = make_pod()
    pod.box.launch_as = []
    vendors = [pod.vendor("on-the-host"), pod.vendor("in-the-pod", Vendor.SLAVE)]
    alone = make_alone(pod.box, "anchor")
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=True)
    since = time.monotonic()
    for attempt in range(1, 3):
        unable = subprocess.Popen([fake_fusefs.__file__], env={**pod.box.environment, "FAKE_UNABLE": how},
                                  stdin=subprocess.DEVNULL)
        wait_for(lambda: pod.box.log().count("nothing was mounted") == attempt, 10 * AFTER_S, "the end of it")
        unable.kill()
        unable.wait()
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=True)
    until = time.monotonic()
    alone.start_all("fusefs", "uploader")
    pod.wait_for_mount(True)
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=False)
    pod.end()
    assert_hidden_from_nobody(vendors, since, until)
    assert_arrived(pod.box)
    assert [alone.end(part) for part in ("uploader", "fusefs", "anchor")] == [0, 0, 0]


def kill_all(box):
    """What the end of a container looks like."""
    for pid in [box.process.pid, *box.pids()]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    box.process.wait()
    box.process = None
    wait_for(lambda: not box.pids(), 10, "the processes to go")


def test_a_restarted_container_clears_the_dead_mount_away(pod):
    box = pod.box.start()
    vendors = pod.both()
    kill_all(box)
    killed = time.monotonic()
    with pytest.raises(OSError):
        os.listdir(box.data)
    for vendor in vendors:
        assert vendor.sees(box.data)[0] == "fuse.ebbfs", "dead, and still there"
        wait_for(lambda v=vendor: v.failed(), 10, "an error")
    box.start()
    pod.wait_for_mount(True)
    served = time.monotonic()
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=False)
        assert len([kind for kind in vendor.sees(box.data) if kind == "fuse.ebbfs"]) == 1, "not two mounts"
    pod.end()
    for vendor in vendors:
        vendor.report(killed)
        assert not vendor.failed(since=served + 0.5 * FACTOR)
        assert_descriptors_went_on(vendor)
    assert_arrived(box)


class Alone:
    """Anchor, fusefs and uploader without `ebbfs run`."""

    def __init__(self, box):
        self.box, self.processes = box, {}

    def start(self, part):
        directory = PROGRAM_DIRS[["run", "anchor", "fusefs", "uploader"].index(part)]
        with open(self.box.log_path, "ab") as log:
            self.processes[part] = subprocess.Popen(
                [*self.box.launch_as, os.path.join(directory, f"ebbfs-{part}")], env=self.box.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

    def start_all(self, *parts):
        there = {"anchor": lambda: os.path.exists(os.path.join(self.box.run, "anchor")), "fusefs": self.box.is_mounted,
                 "uploader": lambda: True}
        for part in parts:
            self.start(part)
            wait_for(there[part], 10, part)
        return self

    def end(self, part):
        self.processes[part].terminate()
        return self.processes[part].wait(20 * FACTOR)


def test_a_stopped_fusefs_without_a_supervisor(make_pod, make_alone):
    pod = make_pod()
    pod.box.launch_as = []
    alone = make_alone(pod.box)
    vendors = pod.both()
    stopped = time.monotonic()
    alone.processes["fusefs"].send_signal(signal.SIGSTOP)
    pod.wait_for_mount(False, AFTER_S + 10)
    aside = time.monotonic()
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=True)
    alone.processes["fusefs"].send_signal(signal.SIGCONT)
    alone.processes["fusefs"].wait(10 * FACTOR)  # its connection has ended
    assert process.is_alive(alone.processes["anchor"].pid)
    alone.start("fusefs")
    pod.wait_for_mount(True)
    for vendor in vendors:
        vendor.wait_for_rounds(20, plain=False)
    pod.end()
    assert_felt_only_at(vendors, stopped, aside)
    assert_arrived(pod.box)
    assert [alone.end(part) for part in ("uploader", "fusefs", "anchor")] == [0, 0, 0]
    assert not pod.box.is_mounted() and not pod.box.pids()
