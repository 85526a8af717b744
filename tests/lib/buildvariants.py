"""Builds of the same tree with options that only some tests want: made once, beside the build under test.

The build `build-test/gcc` has `build-test/points` beside it; one that lies alone, `build`, has `build-points`.
"""

import contextlib
import fcntl
import os
import struct
import subprocess

from lib.mount import BUILD

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPTIONS = {
    "points": ["-Dkill_points=true"],
    "next": ["-Dtable_layout=next"],
    "foreign": ["-Dtable_layout=foreign"],
}
PROGRAMS = {"ebbfs": "fusefs/cli", "ebbfs-anchor": "fusefs/anchor", "ebbfs-fusefs": "fusefs/policy",
            "ebbfs-uploader": "uploader/worker"}


def variant_dir(name, build=BUILD):
    build = os.path.abspath(build)
    shared = os.path.dirname(build)
    if os.path.basename(shared).startswith("build"):
        return os.path.join(shared, name)
    return f"{build}-{name}"


@contextlib.contextmanager
def locked(directory):
    """Two suites may want the same build at the same time."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, ".lock"), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(*command):
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert made.returncode == 0, f"{' '.join(command)}\n{made.stdout[-4000:]}"


def variant(name, build=BUILD):
    """The directory of the build OPTIONS[name], up to date. Only the programs are built."""
    directory = variant_dir(name, build)
    with locked(directory):
        if not os.path.exists(os.path.join(directory, "build.ninja")):
            run("meson", "setup", directory, SOURCE, "-Dwerror=true", *OPTIONS[name])
        run("meson", "compile", "-C", directory, *(f"{PROGRAMS[program]}/{program}" for program in PROGRAMS))
    return directory


def program_dirs(build):
    """For $EBBFS_BIN."""
    return ":".join(os.path.join(build, directory) for directory in PROGRAMS.values())


class KillPoints:
    """The file of struct kill_points (uploader/base/killpoint.h); `environment` makes a process use it."""

    FORM = struct.Struct("=iiII16s92si")

    def __init__(self, path):
        self.path = path
        self.environment = {"KILL_POINTS_FILE": path}
        with open(path, "wb") as file:
            file.write(bytes(self.FORM.size))

    def read(self):
        """(deaths, points passed, name of the last death's point)"""
        with open(self.path, "rb") as file:
            _, _, deaths, passed, _, name, _ = self.FORM.unpack(file.read(self.FORM.size))
        return deaths, passed, name.rstrip(b"\0").decode()

    def set(self, countdown, then=0, process="ebbfs-fusefs", hang=False):
        """The countdown-th point from now on is the last of that process; deaths are counted from 0 again."""
        with open(self.path, "r+b", buffering=0) as file:
            file.write(self.FORM.pack(0, 0, 0, 0, b"", b"", 0))
            file.seek(0)
            body = self.FORM.pack(0, then, 0, 0, process.encode(), b"", int(hang))
            os.pwrite(file.fileno(), body[4:], 4)
            os.pwrite(file.fileno(), struct.pack("=i", countdown), 0)
