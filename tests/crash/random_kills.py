"""Checking writers on a mount while random signals hit random processes of it (`tests/crash/run random`)."""

import collections
import random
import time

from lib.mount import Box

import board
import killer
import trees

# What is hit, and how often of 100; each with its signals.
TARGETS = {"ebbfs-fusefs": 60, "ebbfs-anchor": 22, "ebbfs-uploader": 18}
SIGNALS = {"KILL": 60, "TERM": 24, "STOP": 16}
GAP_MAX_S = 0.25
STOP_MAX_S = 2.5
ENVIRONMENT = {"EBBFS_LOG": "info", "EBBFS_FAIL_OPEN_AFTER": "120s", "EBBFS_DRAIN": "2s"}


class Table:
    """What died how often, and how long the longest call took meanwhile."""

    def __init__(self):
        self.longest = collections.defaultdict(list)
        self.in_flight = self.in_call = self.kills = 0

    def add(self, what, longest_ns, in_flight, in_call):
        self.longest[what].append(longest_ns / 1e6)
        self.kills += 1
        self.in_flight += 1 if in_flight else 0
        self.in_call += 1 if in_call else 0

    def merge(self, other):
        for what, values in other.longest.items():
            self.longest[what] += values
        self.kills += other.kills
        self.in_flight += other.in_flight
        self.in_call += other.in_call

    def text(self):
        lines = ["| process | signal | times | longest call meanwhile, median ms | max ms |", "|---|---|---|---|---|"]
        for (part, name), values in sorted(self.longest.items()):
            values = sorted(values)
            lines.append(f"| {part} | {name} | {len(values)} | {values[len(values) // 2]:.1f} | {values[-1]:.1f} |")
        lines.append(f"{self.kills} kills; {self.in_flight} with a request in flight, {self.in_call} with a writer in a call")
        return "\n".join(lines)


def choose(rng, weights):
    return rng.choices(list(weights), list(weights.values()))[0]


def choose_signal(rng):
    """(part, signal, seconds until SIGCONT: None for never)"""
    part, name = choose(rng, TARGETS), choose(rng, SIGNALS)
    pause = rng.choice([rng.uniform(0, 0.2), rng.uniform(0, STOP_MAX_S), None]) if name == "STOP" else None
    return part, name, pause


def label(name, pause):
    if name != "STOP":
        return name
    return "STOP for good" if pause is None else "STOP, CONT"


def assert_in_bucket(box, files):
    """Each regular file has an object with its bytes; objects of names that are gone stay, which is meant so."""
    objects = box.bucket.objects()
    for name, sha256 in files.items():
        found = objects.get(box.key(name))
        assert found is not None, f"{name} is not in the bucket"
        assert found["sha256"] == sha256, f"{name}: the object has other bytes"


def puts_in_vain(box):
    """PUTs that brought a key the bytes that it had already, with no other PUT or copy to it in between."""
    current, in_vain, total = {}, [], 0
    for entry in box.bucket.requests():
        if entry["status"] != 200 or entry["operation"] not in ("PutObject", "CopyObject"):
            continue
        total += 1
        payload = entry["payload"] if entry["operation"] == "PutObject" else None
        if payload is not None and current.get(entry["key"]) == payload:
            in_vain.append(entry["key"])
        current[entry["key"]] = payload
    return in_vain, total


def history(box, key):
    """What was asked about one key."""
    return "; ".join(f"{time.strftime('%T', time.gmtime(entry['time']))}.{entry['time'] % 1 * 1000:03.0f} "
                     f"{entry['operation']} {entry['status']}" for entry in box.bucket.requests(key=key))


class Scenario:
    """One mount, its writers, and what is done to it."""

    def __init__(self, server, bucket, program, work, *, seed, kills, passthrough, only=None, name="random"):
        self.only, self.name = only, name
        self.program, self.work, self.seed, self.kills = program, work, seed, kills
        self.box = Box(server, bucket, EBBFS_PASSTHROUGH="yes" if passthrough else "no", **ENVIRONMENT)
        self.table, self.calls = Table(), 0

    def again(self):
        way = "passthrough" if self.box.environment["EBBFS_PASSTHROUGH"] == "yes" else "plain"
        return f"tests/crash/run {self.name} --seed {self.seed} --kills {self.kills} --with {way}"

    def kill_at_random(self, writers, hitter):
        rng = random.Random(self.seed)
        for _ in range(self.kills):
            part, name, pause = choose_signal(rng)
            time.sleep(rng.uniform(0, GAP_MAX_S))
            writers.check()
            writers.forget_longest()
            in_call = writers.in_call()
            in_flight = hitter.hit(part, name, pause)
            self.table.add((part, label(name, pause)), writers.longest()[0], in_flight, in_call)
            writers.check()

    def kill_run(self, writers, hitter):
        """`ebbfs run` itself dies; its children go on until the next one replaces them."""
        rng = random.Random(self.seed)
        for _ in range(self.kills):
            hitter.wait_complete("before a signal")
            writers.check()
            writers.forget_longest()
            in_call, in_flight = writers.in_call(), hitter.waiting()
            self.box.process.kill()
            self.box.process.wait()
            time.sleep(rng.uniform(0, GAP_MAX_S))
            self.box.launch()
            hitter.wait_complete("after SIGKILL to ebbfs run")
            self.table.add(("ebbfs run", "KILL"), writers.longest()[0], in_flight, in_call)
            writers.check()

    def run(self, kill="kill_at_random"):
        self.box.start()
        probe = killer.Probe(self.program, self.box.data)
        try:
            with board.Writers(self.program, self.box.data, self.work, self.seed, only=self.only) as writers:
                time.sleep(1)
                try:
                    getattr(self, kill)(writers, killer.Killer(self.box, probe))
                except AssertionError:
                    writers.check()  # what a writer found says more
                    raise
                writers.finish()
                self.calls = writers.calls()
                print(f"longest call after the last kill: {writers.longest()}")
            self.assert_arrived()
        finally:
            probe.close()

    def assert_arrived(self):
        self.box.settle_down(120)
        found = trees.tree(self.box.data)
        files = trees.regular_files(found)
        trees.assert_same(found, trees.tree(self.box.backing()))
        assert_in_bucket(self.box, files)
        in_vain, total = puts_in_vain(self.box)
        kinds = collections.Counter(key[len(self.box.key("")):].split("/")[0] for key in in_vain)
        print(f"{len(files)} files in the bucket as they are here; {total} PUTs and copies, "
              f"{len(in_vain)} PUTs of bytes that were there: {dict(kinds)}")
        # Names of the other kinds are given to new files, which may hold what the earlier one did. These are written once.
        once = [key for key in in_vain if key.startswith(self.box.key("small"))]
        assert not once, f"sent twice: {once[:5]}; the first: {history(self.box, once[0])}"
        assert self.box.stop(60) == 0, "ebbfs run did not end in order"
        trees.assert_same(found, trees.tree(self.box.data))

    def close(self, keep_logs=None):
        """What was left behind, or complained of: an empty list when nothing was."""
        return self.box.close(keep_logs)
