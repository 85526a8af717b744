"""Sends signals to the processes of a box, one at a time: the next only when what the last one hit is replaced."""

import os
import select
import signal
import subprocess
import time

from lib import process
from lib.wait import FACTOR, wait_for

PARTS = ("ebbfs-anchor", "ebbfs-fusefs", "ebbfs-uploader")
HOLDERS = PARTS[:2]  # of /dev/fuse
REPLACED_S = 40
PROBE_S = 40
# Between a new anchor's taking /dev/fuse back and its last pin.
REST_S = 0.03


class Probe:
    """Asks the mount, from a process that may hang in place of this one."""

    def __init__(self, program, directory):
        self.process = subprocess.Popen([program, "probe", directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, seconds=PROBE_S):
        """ns that statvfs and the lookup of a new name took together."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], seconds * FACTOR)
        assert ready, f"nobody answers a statvfs within {seconds} s"
        answer = int(self.process.stdout.readline())
        assert answer >= 0, f"statvfs through the mount: {os.strerror(-answer)}"
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()


def state(pid):
    fields = process.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[0].decode() if fields else ""


def open_files(pid):
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except OSError:
        pass  # it is ending
    return found


def holds_fuse(pid):
    return "/dev/fuse" in open_files(pid)


def has_peer(anchor):
    """Somebody is connected to the anchor's socket, and accepted."""
    inodes = [name[8:-1].encode() for name in open_files(anchor) if name.startswith("socket:[")]
    lines = [line.split() for line in process.read("/proc/net/unix").splitlines()]
    return any(line[5] == b"03" and line[6] in inodes and line[7].endswith(b"/anchor") for line in lines if len(line) > 7)


class Killer:
    def __init__(self, box, probe):
        self.box, self.probe = box, probe

    def pids(self):
        """{part: pid} of what `ebbfs run` started and is not stopped; not what those forked."""
        found = {}
        for pid in self.box.pids():
            if process.name(pid) in PARTS and process.parent(pid) == self.box.process.pid:
                found[process.name(pid)] = pid
        return {name: pid for name, pid in found.items() if state(pid) not in ("T", "Z", "")}

    def complete(self):
        """The pids when everything is in its place, else None."""
        pids = self.pids()
        if set(pids) != set(PARTS) or not all(holds_fuse(pids[part]) for part in HOLDERS):
            return None
        return pids if has_peer(pids["ebbfs-anchor"]) else None

    def wait_complete(self, why):
        def look():
            assert self.box.process.poll() is None, f"ebbfs run ended with {self.box.process.returncode}"
            return self.complete()
        pids = wait_for(look, REPLACED_S, f"the processes complete {why}; there are {self.pids()}", every=0.005)
        self.probe.ask()
        time.sleep(REST_S)
        return pids

    def waiting(self):
        """Requests that the kernel has for us at this moment; None where it does not say."""
        device = os.minor(os.stat(self.box.base).st_dev)
        for path, _ in process.mounts_below(self.box.data):
            device = mount_device(path)
        try:
            return int(process.read(f"/sys/fs/fuse/connections/{device}/waiting"))
        except ValueError:
            return None

    def hit(self, part, name, resume_after=None):
        """Sends SIGname, and for STOP a CONT after that many seconds (None: never). Returns how many requests were in
        flight; the replacement, or the process gone on, is complete."""
        pid = self.wait_complete("before a signal")[part]
        waiting = self.waiting()
        os.kill(pid, getattr(signal, f"SIG{name}"))
        if name != "STOP":
            wait_for(lambda: not process.is_alive(pid), REPLACED_S, f"{part} to end after SIG{name}", every=0.002)
        else:
            self.stopped(part, pid, resume_after)
        after = self.wait_complete(f"after SIG{name} to {part}")
        # One that a supervisor had begun to replace is not counted as gone on.
        if name == "STOP" and after[part] == pid and resume_after and resume_after > 0.5:
            time.sleep(0.5)
            self.wait_complete(f"after SIG{name} to {part}")
        return waiting

    @staticmethod
    def stopped(part, pid, resume_after):
        deadline = time.monotonic() + (REPLACED_S if resume_after is None else resume_after)
        while time.monotonic() < deadline and process.is_alive(pid):
            time.sleep(0.005)
        if process.is_alive(pid):
            os.kill(pid, signal.SIGCONT)
            assert resume_after is not None, f"{part} was stopped for {REPLACED_S} s and nobody replaced it"


def mount_device(path):
    """The minor number of what is mounted there: the name of its FUSE connection."""
    for line in process.read("/proc/self/mountinfo").decode(errors="replace").splitlines():
        fields = line.split()
        if fields[4] == path and fields[2].startswith("0:"):
            return int(fields[2].split(":")[1])
    return None
