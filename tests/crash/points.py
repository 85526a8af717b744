"""A death at every point inside every operation (`tests/crash/run points`).

The build has kill points (uploader/base/killpoint.h). An operation is done with the first point armed, then with the
second, and so on until it is through without a death; then once more with a second death set for the recovery. Boxes
work beside each other, since most of the time is the supervisor's delay between two short lives.
"""

import errno
import fnmatch
import multiprocessing
import os
import re
import shutil
import subprocess
import time

from lib import process
from lib.buildvariants import KillPoints, program_dirs, variant
from lib.mount import Box
from lib.wait import FACTOR, wait_for

import killer
import operations
import trees

POINTS_MAX = 20000
# Beyond some dozens (a listing makes a node for each name), not every point any more.
EVERY = 48
TRIES = 3
IMAGE_BYTES = 256 << 20
SILENCE_S = 120
QUIET_S = 0.02  # what follows an operation (RELEASE, FORGET) is over
# Other threads pass points as well, so that one that is further on may be reached when an earlier one was not.
MISSES = 2
BOXES = 3  # with each way
ENVIRONMENT = {"EBBFS_LOG": "info", "EBBFS_FAIL_OPEN_AFTER": "100s", "EBBFS_SETTLE": "1h", "EBBFS_DRAIN": "0s"}


class Filesystem:
    """A small ext4 of its own: the number of its free inodes shows what is leaked."""

    def __init__(self, work, name):
        self.image, self.path = os.path.join(work, f"{name}.img"), os.path.join(work, name)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "8192", self.image], check=True)
        os.mkdir(self.path)
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)
        self.data = os.path.join(self.path, "data")
        os.mkdir(self.data)

    def free(self):
        return os.statvfs(self.path).f_ffree

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False)
        os.unlink(self.image)


class Bench:
    """A box whose fusefs dies on demand."""

    def __init__(self, server, bucket, program, work, name, passthrough):
        self.filesystem = Filesystem(work, name)
        self.points = KillPoints(os.path.join(work, f"{name}.points"))
        self.box = Box(server, bucket, EBBFS_PASSTHROUGH="yes" if passthrough else "no",
                       EBBFS_BIN=program_dirs(variant("points")), EBBFS_BACKING=self.filesystem.data, **ENVIRONMENT,
                       **self.points.environment)
        os.close(self.box.backing_fd)
        self.box.backing_fd = os.open(self.filesystem.data, os.O_RDONLY | os.O_DIRECTORY)
        self.box.start()
        self.probe = killer.Probe(program, self.box.data)
        self.killer = killer.Killer(self.box, self.probe)

    def close(self, log):
        self.points.set(0)
        self.probe.close()
        problems = self.box.close(log)
        self.filesystem.close()
        return problems

    # ---- one step

    @staticmethod
    def outcome(act):
        try:
            return act(), 0
        except OSError as error:
            return None, error.errno

    def verify(self, step, place, outcome):
        value, number = outcome
        assert number == step.error, f"it ended with {errno.errorcode.get(number, 'success')}"
        assert step.result is None or value == step.result, f"it returned {str(value)[:100]}"
        assert set(os.listdir(place.path)) == step.names, f"the directory lists {sorted(os.listdir(place.path))[:10]}"
        step.check()
        trees.assert_same(trees.tree(place.path), trees.tree(self.box.backing(os.path.basename(place.path))))
        if step.again:
            _, number = self.outcome(step.again[0])
            assert number == step.again[1], f"once more it ended with {errno.errorcode.get(number, 'success')}"

    def wait_quiet(self):
        """What the preparation left to be done (RELEASE, FORGET, events) is done."""
        self.points.set(1 << 30)
        before = -1
        while self.points.read()[1] != before:
            before = self.points.read()[1]
            time.sleep(QUIET_S / 2)

    def deleted_files(self):
        """Open in our processes, without a name."""
        return [path for pid in self.killer.pids().values() for path in killer.open_files(pid)
                if path.startswith((self.box.data, self.filesystem.path)) and path.endswith(" (deleted)")]

    def assert_nothing_leaked(self, place, free):
        subprocess.run(["rm", "-rf", place.path], check=True)
        wait_for(lambda: self.filesystem.free() >= free, 10,
                 f"{free} inodes free; {self.filesystem.free()} are, held: {self.deleted_files()[:3]}")

    def step(self, function, name, countdown, then):
        """Whether it died, and where."""
        self.killer.wait_complete("before the operation")
        free = self.filesystem.free()
        place = operations.Place(self.box.path(name))
        step = function(place)
        self.wait_quiet()
        self.points.set(countdown, then)
        try:
            outcome = self.outcome(step.act)
            time.sleep(QUIET_S)
            deaths, _, point = self.points.read()
        finally:
            self.points.set(0)
        if deaths:
            self.killer.wait_complete(f"after a death at \"{point}\"")
        try:
            self.verify(step, place, outcome)
            step.done()
            self.assert_nothing_leaked(place, free)
        except AssertionError as error:
            raise AssertionError(f"death {countdown} at \"{point}\" (deaths {deaths}, then {then}): {error}") from None
        return deaths, point

    def walk(self, name, thens):
        """The points of one operation that it died at, in their order, and the number of deaths in all."""
        function, wanted = operations.OPERATIONS[name]
        folder = re.sub(" ", "-", name)
        found, deaths = {}, 0
        for attempt in range(TRIES):
            misses, countdown = 0, 1
            while misses < MISSES:
                assert countdown < POINTS_MAX, f"more than {POINTS_MAX} points: it never comes through"
                died, point = self.step(function, f"{folder}-{attempt}-{countdown}", countdown, 0)
                misses = 0 if died else misses + 1
                if died:
                    found[countdown] = point
                    deaths += died
                countdown += 1 + countdown // EVERY
            if wanted in found.values():
                break
        assert wanted in found.values(), f"no death at \"{wanted}\", only at {sorted(set(found.values()))}"
        for number, countdown in enumerate(found):
            for then in thens(number):
                died, _ = self.step(function, f"{folder}-then-{countdown}-{then}", countdown, then)
                deaths += died
        return found, deaths


def all_thens(_):
    """When a second death follows the one at the point of that number: so many points later."""
    return 1, 2, 4, 7


def some_thens(number):
    return (1 + number * 5 % 8,) if number % 2 else ()


def work_through(pipe, server, bucket, program, work, name, passthrough, names, full):
    """A process of its own: what hangs in the mount hangs here."""
    bench = Bench(server, bucket, program, work, name, passthrough)
    pipe.send(("state", bench.box.state))
    for operation in names:
        problem, found, deaths = None, [], 0
        try:
            found, deaths = bench.walk(operation, all_thens if full else some_thens)
        except Exception as error:  # pylint: disable=broad-except  # it is reported, and the next operation can go on
            problem = f"{type(error).__name__}: {error}"
        pipe.send(("done", operation, problem, found, deaths))
    log = os.path.join(work, f"{name}.log")
    problems = bench.close(log)
    pipe.send(("closed", problems, log))


class Group:
    """One process and what it has to do."""

    def __init__(self, name, names, target, *arguments):
        self.name, self.names, self.state, self.closed = name, list(names), None, False
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()
        self.heard = time.monotonic()

    def messages(self):
        while self.pipe.poll():
            try:
                message = self.pipe.recv()
            except EOFError:
                return
            self.heard = time.monotonic()
            yield message

    def is_stuck(self):
        return time.monotonic() - self.heard > SILENCE_S * FACTOR

    def abort(self):
        """Ends the connection, so that whoever waits for it goes on."""
        for pid in process.with_environment(f"EBBFS_STATE={self.state}") if self.state else []:
            os.kill(pid, 9)
        self.process.join(20)
        if self.process.is_alive():
            self.process.kill()


class Run:
    def __init__(self, tally, logs):
        self.tally, self.logs, self.rows = tally, logs, {}

    def take(self, way, group, message):
        if message[0] == "state":
            group.state = message[1]
        elif message[0] == "done":
            _, operation, problem, found, deaths = message
            group.names.remove(operation)
            self.rows.setdefault(operation, {})[way] = (len(found), deaths)
            self.tally.count(f"points/{way}/{operation}", f"tests/crash/run points --with {way} --only '{operation}'",
                             [problem] if problem else [])
        elif message[0] == "closed":
            group.closed = True
            _, problems, log = message
            if problems:
                kept = self.keep(log)
                self.tally.count(f"points/{way}/{group.name} ends", f"tests/crash/run points --with {way}", problems, kept)
            elif os.path.exists(log):
                self.keep(log)

    def keep(self, log):
        os.makedirs(self.logs, exist_ok=True)
        return shutil.copy(log, os.path.join(self.logs, "points-" + os.path.basename(log)))

    def follow(self, groups):
        """groups: [(way, group)]"""
        while groups:
            time.sleep(0.05)
            for way, group in list(groups):
                for message in group.messages():
                    self.take(way, group, message)
                if group.is_stuck() or not group.process.is_alive():
                    stuck = group.process.is_alive() and not group.closed
                    group.abort()
                    for message in group.messages():
                        self.take(way, group, message)
                    for operation in group.names:
                        why = f"nothing happened for {SILENCE_S} s" if stuck else "its process died"
                        self.tally.count(f"points/{way}/{operation}",
                                         f"tests/crash/run points --with {way} --only '{operation}'", [why])
                    groups.remove((way, group))

    def table(self):
        lines = ["| operation | points | deaths | points, ordinary read/write | deaths |", "|---|---|---|---|---|"]
        for operation, ways in self.rows.items():
            cells = [str(number) for way in ("passthrough", "plain") for number in ways.get(way, ("-", "-"))]
            lines.append(f"| {operation} | {' | '.join(cells)} |")
        total = sum(deaths for ways in self.rows.values() for _, deaths in ways.values())
        return "\n".join(lines) + f"\n{total} deaths inside operations"


def run(tally, server, program, work, ways, only, full):
    variant("points")  # before anybody waits for it
    names = [name for name in operations.OPERATIONS if fnmatch.fnmatchcase(name, only)]
    groups = []
    following = Run(tally, tally.logs)
    for way in ways:
        for number in range(min(BOXES, len(names))):
            name = f"{way}-{number}"
            bucket = server.bucket(f"points-{name}")
            group = Group(name, names[number::BOXES], work_through, server, bucket, program, work, name,
                          way == "passthrough", names[number::BOXES], full)
            groups.append((way, group))
    following.follow(groups)
    print("\n" + following.table() + "\n", flush=True)
