"""Time from SIGKILL of fusefs to the first answer (`tests/crash/run recovery`): a figure for the documentation."""

import bisect
import mmap
import os
import signal
import statistics
import struct
import subprocess
import time

from lib.mount import Box

import killer
import random_kills

RING_CALLS = 1 << 18  # latency.c
CALL = struct.Struct("<QQ")
GAP_S = 1.3  # above what a supervisor takes for a short life
RECOVERED_S = 20


class Latency:
    """Somebody who asks without a pause, and the times of the questions."""

    def __init__(self, program, path, ring):
        with open(ring, "w+b") as file:
            file.truncate(16 + RING_CALLS * CALL.size)
            self.map = mmap.mmap(file.fileno(), 16 + RING_CALLS * CALL.size)
        self.process = subprocess.Popen([program, "latency", path, ring])

    def count(self):
        count, error = struct.unpack_from("<Qq", self.map)
        assert error == 0, f"statx through the mount: {os.strerror(error)}"
        return count

    def call(self, number):
        return CALL.unpack_from(self.map, 16 + number % RING_CALLS * CALL.size)

    def longest_since(self, first, last):
        """(begin, end) of the call that took longest."""
        return max((self.call(number) for number in range(max(first - 1, 0), last)), key=lambda one: one[1] - one[0])

    def close(self):
        self.process.kill()
        self.process.wait()


def measure(hitter, latency):
    """ns from kill(2) to the end of the call that met the death."""
    pid = hitter.wait_complete("before a kill")["ebbfs-fusefs"]
    first, killed = latency.count(), time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + RECOVERED_S
    # The first answers may still be the dead one's: a kill takes some µs.
    while time.monotonic() < deadline:
        time.sleep(0.3)
        begin, end = latency.longest_since(first, latency.count())
        if end > killed and latency.count() > first + 100:
            return end - max(killed, min(begin, killed))
    raise AssertionError(f"no answer within {RECOVERED_S} s of SIGKILL")


def percentile(values, percent):
    return values[min(len(values) - 1, bisect.bisect_left(range(len(values)), len(values) * percent / 100))]


def run(server, bucket, program, work, kills, passthrough):
    """ms, sorted."""
    box = Box(server, bucket, EBBFS_PASSTHROUGH="yes" if passthrough else "no", **random_kills.ENVIRONMENT)
    times = []
    try:
        box.start()
        box.write("asked", b"x")
        probe = killer.Probe(program, box.data)
        latency = Latency(program, box.path("asked"), os.path.join(work, f"ring-{passthrough}"))
        try:
            hitter = killer.Killer(box, probe)
            for _ in range(kills):
                time.sleep(GAP_S)
                times.append(measure(hitter, latency) / 1e6)
        finally:
            latency.close()
            probe.close()
    finally:
        problems = box.close()
    assert not problems, problems
    return sorted(times)


def row(way, times):
    return (f"| {way} | {len(times)} | {statistics.median(times):.1f} | {percentile(times, 99):.1f} | {times[-1]:.1f} |")
