#!/usr/bin/env python3
"""A vendor program that keeps a diary: vendor.py DIRECTORY DEV. Ends when its stdin does.

One thread makes new files by absolute path, as `DIRECTORY/0`, `DIRECTORY/1` …; another appends to `DIRECTORY/old`,
which stays open. Each round is a line of JSON on stdout: {"what": "new" or "old", "began", "ended" (monotonic seconds),
"error" (name of the errno, or null), "plain" (whether the file is on the filesystem DEV, not on the mount)}.
"""

import collections
import errno
import json
import os
import subprocess
import sys
import threading
import time

from lib import process
from lib.wait import FACTOR, wait_for


class Vendor:
    """One that runs, in a mount namespace of its own if `command` says so."""

    SLAVE = ("unshare", "--mount", "--propagation", "slave")  # HostToContainer

    def __init__(self, box, name, command=()):
        self.name, self.directory = name, box.path(name)
        os.mkdir(self.directory)
        dev = os.fstat(box.backing_fd).st_dev
        self.entries = []
        self.process = subprocess.Popen([*command, sys.executable, __file__, self.directory, str(dev)], text=True,
                                        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))},
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.entries.append(json.loads(line))

    def done(self, what="new", plain=None, since=0.0):
        """Rounds that got through."""
        return [entry for entry in list(self.entries) if entry["what"] == what and entry["error"] is None
                and plain in (None, entry["plain"]) and entry["began"] >= since]

    def failed(self, what="new", since=0.0):
        return [entry for entry in list(self.entries) if entry["what"] == what and entry["error"] and entry["ended"] >= since]

    def wait_for_rounds(self, number, seconds=20, **conditions):
        """That many more than there are."""
        since = time.monotonic()
        wait_for(lambda: len(self.done(since=since, **conditions)) >= number, seconds,
                 f"{number} rounds of {self.name} {conditions}")

    def gap(self, what="new", since=0.0):
        """The longest time from one success to the next, of those that ended after `since`."""
        times = [entry["ended"] for entry in self.done(what)]
        return max((after - before for before, after in zip(times, times[1:]) if after >= since), default=0.0)

    def sees(self, path):
        """Types of what is mounted at a path in its namespace, topmost first."""
        found = []
        for line in process.read(f"/proc/{self.process.pid}/mountinfo").decode().splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split()[4] == path:
                found.append(rest.split()[0])
        return found[::-1]

    def report(self, since=0.0):
        errors = collections.Counter(f"{entry['what']} {entry['error']}" for entry in self.failed() + self.failed("old"))
        print(f"{self.name}: {len(self.done())} files, {len(self.done('old'))} appends; longest without service "
              f"{self.gap(since=since):.3f} s, of an open descriptor {self.gap('old', since=since):.3f} s; "
              f"errors: {dict(errors)}")

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20 * FACTOR)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError(f"{self.name} hangs") from None
        self.reader.join()
        self.process.stdout.close()
        assert self.process.returncode == 0, f"{self.name}: exit {self.process.returncode}"


def say(what, began, error, plain):
    name = None if error is None else errno.errorcode.get(error, str(error))
    # One write: two threads do it.
    os.write(1, (json.dumps({"what": what, "began": began, "ended": time.monotonic(), "error": name, "plain": plain}) +
                 "\n").encode())


def new_files(directory, dev, ended):
    number = 0
    while not ended.wait(0.004):
        began = time.monotonic()
        try:
            fd = os.open(os.path.join(directory, str(number)), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            plain = os.fstat(fd).st_dev == dev
            os.write(fd, b"file %d\n" % number)
            os.close(fd)
            say("new", began, None, plain)
        except OSError as problem:
            say("new", began, problem.errno, None)
        number += 1


def old_file(fd, ended):
    number = 0
    while not ended.wait(0.005):
        began, line = time.monotonic(), b"line %d\n" % number
        try:
            os.write(fd, line)
            assert os.pread(fd, 5, 0) == b"line "
            say("old", began, None, None)
        except OSError as problem:
            say("old", began, problem.errno, None)
        number += 1


def main():
    directory, dev, ended = sys.argv[1], int(sys.argv[2]), threading.Event()
    fd = os.open(os.path.join(directory, "old"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, b"line first\n")
    threads = [threading.Thread(target=new_files, args=(directory, dev, ended)),
               threading.Thread(target=old_file, args=(fd, ended))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
