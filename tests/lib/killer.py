"""Kills one part of a running ebbfs again and again, from a thread, at random moments that a seed repeats.

EBBFS_TEST_KILLS: how often, instead of 50 (500 with EBBFS_TEST_FULL=1); 0 lets the work run alone, once.
EBBFS_TEST_SEED: the seed, which is printed.
"""

import os
import random
import signal
import threading
import time

from lib import process
from lib.wait import FACTOR


def default_kills():
    return int(os.environ.get("EBBFS_TEST_KILLS", "500" if os.environ.get("EBBFS_TEST_FULL") else "50"))


def child(box, part):
    """The pid of the living child of `ebbfs run`, or None."""
    for line in process.read(os.path.join(box.run, "run.children")).decode().splitlines():
        name, pid, _ = line.split()
        if name == f"ebbfs-{part}" and process.is_alive(int(pid)):
            return int(pid)
    return None


class Killer:
    """A context; `working` is true until the last kill is done and the part is back."""

    def __init__(self, box, part="fusefs", kills=None, wait=(0.3, 0.7), number=signal.SIGKILL):
        self.box, self.part, self.number, self.wait = box, part, number, wait
        self.wanted = default_kills() if kills is None else kills
        self.seed = int(os.environ.get("EBBFS_TEST_SEED", random.randrange(1 << 32)))
        self.done, self.error, self.working = 0, None, self.wanted > 0
        self.left = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        chance = random.Random(self.seed)
        old = None
        try:
            while self.done < self.wanted and not self.left.wait(chance.uniform(*self.wait)):
                old = self.next_after(old)
                os.kill(old, self.number)
                self.done += 1
            self.next_after(old)
        except (AssertionError, OSError) as error:
            self.error = error
        self.working = False

    def next_after(self, old):
        deadline = time.monotonic() + 20 * FACTOR
        while (pid := child(self.box, self.part)) in (None, old):
            assert time.monotonic() < deadline, f"{self.part} does not come back after kill {self.done}"
            time.sleep(0.005)
        return pid

    def __enter__(self):
        print(f"seed {self.seed}: {self.wanted} times {signal.Signals(self.number).name} to {self.part}")
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.left.set()
        self.thread.join()
        if kind is None:
            assert self.error is None, self.error
            assert self.done == self.wanted
