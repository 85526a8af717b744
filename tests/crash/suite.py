"""Runs the scenarios of the crash suite, counts them, and keeps the logs of those that fail."""

import fnmatch
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback

from lib.mount import BUILD, PROGRAM_DIRS
from lib.s3 import S3Server

import board
import points
import random_kills
import recovery
import sabotage

CI_KILLS, FULL_KILLS = 50, 500  # with each way
CI_RUN_KILLS, FULL_RUN_KILLS = 5, 50
RECOVERY_KILLS = 50


class Tally:
    def __init__(self, args):
        self.passed = self.failed = 0
        self.work = args.work
        self.logs = os.environ.get("EBBFS_TEST_LOGS", os.path.join(BUILD, "crash-logs"))

    def attempt(self, name, again, test, close=None):
        """Runs test(); what it raises, and what close(log) says was left behind, fails it."""
        started, problems = time.monotonic(), []
        try:
            test()
        except AssertionError as error:
            problems.append(str(error))
        except Exception:  # pylint: disable=broad-except  # whatever it is, the next scenario can still run
            problems.append(traceback.format_exc())
        log = None
        if problems:
            os.makedirs(self.logs, exist_ok=True)
            log = os.path.join(self.logs, name.replace("/", "-").replace(" ", "-") + ".log")
        if close:
            problems += close(log)
        self.count(name, again, problems, log, time.monotonic() - started)

    def count(self, name, again, problems, log=None, seconds=None):
        took = "" if seconds is None else f" ({seconds:.1f} s)"
        if not problems:
            self.passed += 1
            print(f"ok      {name}{took}", flush=True)
            return
        self.failed += 1
        print(f"FAILED  {name}{took}")
        for problem in problems:
            print("          " + problem.replace("\n", "\n          "))
        if log and os.path.exists(log):
            print(f"        log: {log}")
        print(f"        again: {again}", flush=True)


def writer_program():
    return os.path.join(BUILD, "tests/crash/crash-writer")


def is_full():
    return bool(os.environ.get("EBBFS_TEST_FULL"))


def run_random(args, tally, server, name="random", kill="kill_at_random", kills=(CI_KILLS, FULL_KILLS)):
    kills = args.kills if args.kills is not None else kills[is_full()]
    total, calls = random_kills.Table(), 0
    for way in args.ways:
        seed = args.seed if args.seed is not None else random.randrange(1_000_000)
        print(f"{name}, {way}: seed {seed}, {kills} kills", flush=True)
        bucket = server.bucket(f"{name}-{way}-{seed}")
        scenario = random_kills.Scenario(server, bucket, writer_program(), args.work, seed=seed, kills=kills,
                                         passthrough=way == "passthrough", only=args.writers, name=name)
        tally.attempt(f"{name}/{way}", scenario.again(), lambda scenario=scenario: scenario.run(kill), scenario.close)
        bucket.drop()
        total.merge(scenario.table)
        calls += scenario.calls
    print(f"\n{total.text()}\n{calls} calls checked\n", flush=True)


def run_writers(args, tally):
    """The writers where nothing can die: what they say here is their own fault."""
    directory = tempfile.mkdtemp(dir=args.work)

    def test():
        with board.Writers(writer_program(), directory, args.work, args.seed or 1, args.steps, args.writers) as writers:
            writers.wait()
            print(f"{writers.calls()} calls checked, longest {writers.longest()}")
    tally.attempt("writers in a plain directory", "tests/crash/run writers", test)


def run_sabotage(args, tally):
    base = tempfile.mkdtemp(dir=args.work)
    for kind, sabotaged in sabotage.SABOTAGES:
        name = f"sabotage/{kind}/{sabotaged.__name__}"
        if fnmatch.fnmatchcase(name, f"*{args.only}*"):
            tally.attempt(name, f"tests/crash/run sabotage --only '{kind}/{sabotaged.__name__}'",
                          lambda kind=kind, sabotaged=sabotaged: sabotage.notice(
                              writer_program(), base, args.work, kind, sabotaged))


def run_recovery(args, tally):
    rows = ["| reads and writes | kills | median ms | p99 ms | max ms |", "|---|---|---|---|---|"]
    kills = RECOVERY_KILLS if args.kills is None else args.kills
    with S3Server() as server:
        for way in args.ways:
            bucket = server.bucket(f"recovery-{way}")

            def test(way=way, bucket=bucket):
                times = recovery.run(server, bucket, writer_program(), args.work, kills, way == "passthrough")
                rows.append(recovery.row(way, times))
            tally.attempt(f"recovery/{way}", "tests/crash/run recovery", test)
    print("\nFrom SIGKILL of fusefs to the first answer:\n\n" + "\n".join(rows) + "\n", flush=True)


def run(args):
    subprocess.run(["mount", "-t", "fusectl", "fusectl", "/sys/fs/fuse/connections"], check=False)
    for path in [writer_program(), os.path.join(PROGRAM_DIRS[0], "ebbfs")]:
        if not os.access(path, os.X_OK):
            print(f"no {path}: build first (meson compile -C …), or say --build DIR", file=sys.stderr)
            return 2
    tally = Tally(args)
    if args.scenario in ("writers", None):
        run_writers(args, tally)
    if args.scenario in ("sabotage", None):
        run_sabotage(args, tally)
    if args.scenario == "recovery":
        run_recovery(args, tally)
    if args.scenario in ("random", None):
        with S3Server() as server:
            run_random(args, tally, server)
    if args.scenario in ("supervisor", None):
        with S3Server() as server:
            run_random(args, tally, server, "supervisor", "kill_run", (CI_RUN_KILLS, FULL_RUN_KILLS))
    if args.scenario in ("points", None):
        with S3Server() as server:
            points.run(tally, server, writer_program(), args.work, args.ways, args.only, is_full())
    print(f"{tally.passed} passed, {tally.failed} failed, 0 skipped")
    return 1 if tally.failed else 0
