"""The memory that the checking writers share (writer.h has the layout), and the writers themselves."""

import mmap
import os
import signal
import struct
import subprocess
import time

from lib.wait import FACTOR

HEAD = struct.Struct("<IIQ")
CELL = struct.Struct("<IIQ")
SLOT = struct.Struct("<24sQQQQQ56sQII")
CELLS, SLOTS = 8, 64
SIZE = HEAD.size + CELLS * CELL.size + SLOTS * SLOT.size
LONGEST_AT = 24 + 4 * 8  # of longest_ns in a slot
HANG_S = 60

# Kind, and by how many writers that share a directory.
PLAN = [("names", 1), ("names", 1), ("names", 1), ("io", 1), ("io", 1), ("append", 2), ("lock", 2), ("listing", 1),
        ("small", 1)]

SLOWER = {"small": 20, "lock": 2}  # than the others, per step


class Slot:
    def __init__(self, raw):
        (name, self.seed, self.steps, self.calls, self.since_ns, self.longest_ns, longest, self.progress, self.pid,
         self.ended) = raw
        self.name, self.longest = (text.split(b"\0")[0].decode() for text in (name, longest))


class Board:
    def __init__(self, path):
        self.path = path
        with open(path, "w+b") as file:
            file.truncate(SIZE)
            self.map = mmap.mmap(file.fileno(), SIZE)

    def stop(self):
        self.map[0:4] = struct.pack("<I", 1)

    @property
    def failed(self):
        return HEAD.unpack_from(self.map)[1] != 0

    @staticmethod
    def place(number):
        return HEAD.size + CELLS * CELL.size + number * SLOT.size

    def slot(self, number):
        return Slot(SLOT.unpack_from(self.map, self.place(number)))

    def forget_longest(self, number):
        struct.pack_into("<Q", self.map, self.place(number) + LONGEST_AT, 0)


class Writers:
    """The writers of PLAN in directories below one. Use it as a context: in the end they are dead."""

    def __init__(self, program, directory, work, seed, steps=0, only=None):
        self.board = Board(os.path.join(work, f"board-{seed}"))
        self.report = os.path.join(work, f"writers-{seed}.log")
        self.processes = []
        self.program, self.directory, self.seed, self.steps = program, directory, seed, steps
        self.plan = [(kind, count) for kind, count in PLAN if only is None or kind in only]

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        slot = 0
        with open(self.report, "wb") as report:
            for kind, count in self.plan:
                directory = os.path.join(self.directory, f"{kind}{slot}")
                os.mkdir(directory)
                for i in range(count):
                    peer = -1 if count == 1 else slot + (1, -1)[i]
                    self.processes.append(subprocess.Popen(
                        [self.program, kind, directory, self.board.path, str(slot), str(peer),
                         str(self.seed * 100 + slot), str(self.steps // SLOWER.get(kind, 1))],
                        stdin=subprocess.DEVNULL, stdout=report, stderr=report))
                    slot += 1

    def slots(self):
        return [self.board.slot(number) for number in range(len(self.processes))]

    def in_call(self):
        """How many are in a call at this moment."""
        return sum(1 for slot in self.slots() if slot.since_ns)

    def forget_longest(self):
        for number in range(len(self.processes)):
            self.board.forget_longest(number)

    def longest(self):
        """Of the calls since forget_longest(), those in hand included: (ns, writer, call)."""
        now = time.monotonic_ns()
        found = [(slot.longest_ns, slot.name, slot.longest) for slot in self.slots()]
        found += [(now - slot.since_ns, slot.name, "a call in hand") for slot in self.slots() if slot.since_ns]
        return max(found)

    def calls(self):
        return sum(slot.calls for slot in self.slots())

    def said(self):
        with open(self.report, encoding="utf-8", errors="replace") as file:
            return file.read().strip()

    def check(self):
        """Nobody found anything wrong, nobody hangs or died."""
        codes = [process.poll() for process in self.processes]
        assert not self.board.failed and all(code in (None, 0) for code in codes), \
            f"{self.said() or 'a writer died'} (exit codes {codes})"
        now = time.monotonic_ns()
        for slot in self.slots():
            stuck = slot.since_ns and now - slot.since_ns > HANG_S * FACTOR * 1e9
            assert not stuck, f"{slot.name} seed={slot.seed} step={slot.steps}: a call has not returned for {HANG_S} s"

    def finish(self):
        """Lets them check everything once more and end."""
        self.board.stop()
        self.wait()

    def wait(self):
        while any(process.poll() is None for process in self.processes):
            self.check()
            time.sleep(0.02)
        self.check()

    def __exit__(self, *_):
        self.board.stop()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass  # in a call that nobody answers: it ends with the mount
