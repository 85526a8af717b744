"""The programs of ebbfs one by one, with stand-ins for what is not under test, in directories of their own."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile

from lib import process
from lib.mount import COMPLAINTS, EBBFS, PROGRAM_DIRS
from lib.wait import FACTOR, wait_for

LIB = os.path.dirname(os.path.abspath(__file__))
ANCHOR = os.path.join(PROGRAM_DIRS[1], "ebbfs-anchor")
FAKE_FUSEFS = os.path.join(LIB, "fake_fusefs.py")
SLEEPING_UPLOADER = "exec sleep 1000"


class Parts:
    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="ebbfs-parts-", dir="/var/tmp")
        os.chmod(self.base, 0o755)
        self.data, self.run_dir, self.bin = (os.path.join(self.base, name) for name in ("data", "run", "bin"))
        os.mkdir(self.data, 0o750)
        os.mkdir(self.bin)
        with open(os.path.join(self.data, "plain"), "wb") as file:
            file.write(b"plain")
        self.log_path = os.path.join(self.base, "log")
        self.processes = []
        self.environment = {
            "PATH": os.environ["PATH"], "TZ": "UTC", "EBBFS_DATA": self.data, "EBBFS_RUN": self.run_dir,
            "EBBFS_STATE": os.path.join(self.base, "state"), "EBBFS_TARGET": "s3://bucket/prefix",
            "EBBFS_BIN": self.bin, "EBBFS_LOG": "debug", "EBBFS_DRAIN": "5s", "AWS_SECRET_ACCESS_KEY": "not-for-all",
            **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")},
        }
        shutil.copy(FAKE_FUSEFS, os.path.join(self.bin, "ebbfs-fusefs"))
        self.script("uploader", SLEEPING_UPLOADER)

    def script(self, part, text):
        """Replaces a part of ebbfs by a shell script."""
        path = os.path.join(self.bin, f"ebbfs-{part}")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n[ \"$1\" != --check-settings ] || exit 0\n{text}\n")
        os.chmod(path, 0o755)

    def start(self, *command, **environment):
        with open(self.log_path, "ab") as log:
            started = subprocess.Popen(command, env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, start_new_session=True)
        self.processes.append(started)
        return started

    def ebbfs(self, *arguments, **environment):
        return subprocess.run([EBBFS, *arguments], env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60 * FACTOR, check=False)

    # ---- one by one

    def anchor(self, *prefix, ready=True, **environment):
        mark = self.log().count("ebbfs-anchor: ready")
        started = self.start(*prefix, ANCHOR, **environment)
        if ready:
            wait_for(lambda: self.log().count("ebbfs-anchor: ready") > mark, 10, "the anchor")
        return started

    def fusefs(self, **environment):
        mark = self.log().count("fusefs serves")
        started = self.start(FAKE_FUSEFS, **environment)
        wait_for(lambda: self.log().count("fusefs serves") > mark, 10, "the mount to serve")
        return started

    # ---- all together

    def run(self, *arguments, **environment):
        """`ebbfs run` until it says that it is ready."""
        mark = self.log().count("ebbfs: ready")
        started = self.start(EBBFS, "run", *arguments, **environment)
        wait_for(lambda: self.log().count("ebbfs: ready") > mark or started.poll() is not None, 20, "ebbfs run")
        assert started.poll() is None, self.log()
        return started

    def pid(self, part):
        """Of the child that `ebbfs run` has now."""
        def find():
            for line in process.read(f"{self.run_dir}/run.children").decode().splitlines():
                name, pid, _ = line.split()
                if name == f"ebbfs-{part}" and process.is_alive(int(pid)):
                    return int(pid)
            return None
        return wait_for(find, 10, f"a living {part}")

    # ---- looking

    def log(self):
        return process.read(self.log_path).decode(errors="replace")

    def wait_log(self, text, seconds=10):
        wait_for(lambda: text in self.log(), seconds, f"{text!r} in the log")

    def types(self, path=None):
        """Types of what is mounted right at a path, topmost first."""
        return [kind for where, kind in process.mounts_below(path or self.data) if where == (path or self.data)]

    def call(self, name, data=None):
        """A process that looks up a name in the mount."""
        called = subprocess.Popen(["stat", os.path.join(data or self.data, name)], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, start_new_session=True,
                                  env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
        self.processes.append(called)
        return called

    def held_call(self, name):
        """The same, once fusefs has read the request and holds it."""
        mark = self.log().count(f"fake: holds {name}\n")
        called = self.call(name)
        wait_for(lambda: self.log().count(f"fake: holds {name}\n") > mark, 10, "the request")
        return called

    def sees_plain(self, path=None):
        return "plain" in os.listdir(path or self.data)

    def close(self):
        for started in self.processes:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
        for started in self.processes:
            started.wait(20 * FACTOR)
            if started.stderr:
                started.stderr.close()
        for pid in process.with_environment(f"EBBFS_RUN={self.run_dir}"):
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
        for path, _ in process.mounts_below(self.base):
            subprocess.run(["umount", "-l", path], check=False)
        complaints = [match.group(0) for match in COMPLAINTS.finditer(self.log())]
        shutil.rmtree(self.base, ignore_errors=True)
        assert not complaints, complaints


def dead_mount(path):
    """A FUSE mount that nobody serves any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", os.fsencode(path), b"fuse.ebbfs", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    os.close(fd)


def elsewhere(parts):
    """A backing volume of its own, shared as container runtimes share them, and a peer of the data directory's."""
    paths = [os.path.join(parts.base, name) for name in ("volume", "outer", "peer")]
    for path in paths:
        os.mkdir(path)
    for path in paths[:2]:
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
        subprocess.run(["mount", "--make-shared", path], check=True)
    subprocess.run(["mount", "--bind", paths[1], paths[2]], check=True)
    os.mkdir(os.path.join(paths[1], "data"))
    with open(os.path.join(paths[0], "plain"), "wb"):
        pass
    parts.environment.update(EBBFS_BACKING=paths[0], EBBFS_DATA=os.path.join(paths[1], "data"))
    return paths[0], os.path.join(paths[1], "data"), os.path.join(paths[2], "data")
