"""What system calls a process makes."""

import os
import subprocess

from lib import process
from lib.wait import wait_for


class Strace:
    """Attaches strace to a process for as long as the context lasts; `lines` afterwards."""

    def __init__(self, pid, what, directory):
        self.pid, self.what, self.path = pid, what, os.path.join(directory, "strace")

    def __enter__(self):
        self.process = subprocess.Popen(["strace", "-f", "-q", "-e", f"trace={self.what}", "-e", "signal=none", "-s", "256",
                                         "-o", self.path, "-p", str(self.pid)], stderr=subprocess.DEVNULL)
        wait_for(lambda: process.status(self.pid).get("TracerPid", "0") != "0", 10, "strace to attach")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        with open(self.path, encoding="utf-8", errors="replace") as file:
            self.lines = file.read().splitlines()
