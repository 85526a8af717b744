"""Real programs on the mount while fusefs is killed under them: SQLite, fio, git, tar, ninja. None may notice.

Each test runs its programs until fusefs was killed 50 times (tests/lib/killer.py says how to change that).
"""

import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from lib import database, trees
from lib.killer import Killer
from lib.wait import FACTOR, wait_for

pytestmark = pytest.mark.slow
MODES = ["wal", "delete", "truncate"]
WORKERS = 3
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent",
               "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.invalid",
               "GIT_COMMITTER_NAME": "c", "GIT_COMMITTER_EMAIL": "c@example.invalid",
               "GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}


@pytest.fixture
def mounted(make_box):
    return make_box(EBBFS_SETTLE="1s").start()


@pytest.fixture
def scratch():
    """A plain directory beside the mount."""
    with tempfile.TemporaryDirectory(prefix="ebbfs-programs-", dir="/var/tmp") as path:
        yield path


def run(*command, cwd=None, seconds=120):
    """A program that has to succeed; its stdout."""
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds * FACTOR, check=False)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def rounds(killer):
    """Numbers, for as long as there are kills to come; at least one."""
    number = 0
    while number == 0 or killer.working:
        yield number
        number += 1
    print(f"{number} rounds through {killer.done} kills")


def assert_arrived(box, folder=""):
    """Every regular file below folder is in the bucket with its bytes; objects of files that are gone may be there."""
    box.settle_down(120)
    objects = box.bucket.objects()
    top = box.path(folder) if folder else box.data
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            found = objects.get(box.key(os.path.relpath(path, box.data)))
            with open(path, "rb") as file:
                assert found and found["sha256"] == hashlib.file_digest(file, "sha256").hexdigest(), path


# ---- SQLite

def sqlite3(path, text):
    return run("sqlite3", "-bail", path, text).strip()


@contextlib.contextmanager
def workers(box, scratch, folder):
    """Processes that write to a database for each mode; yields what they report when the context has ended."""
    stop, reports, started = os.path.join(scratch, "stop"), {}, []
    for mode in MODES:
        database.create(box.path(folder, mode), mode)
        for number in range(WORKERS):
            started.append((mode, subprocess.Popen(
                [sys.executable, database.__file__, box.path(folder, mode), mode, str(number), stop], text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)))
    try:
        yield reports
    finally:
        with open(stop, "wb"):
            pass
        for mode, process in started:
            try:
                out, err = process.communicate(timeout=60 * FACTOR)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = "", "does not end"
            reports.setdefault(mode, []).append((process.returncode, out, err))
    for mode, ended in reports.items():
        assert all(code == 0 for code, _, _ in ended), f"{mode}: {[(code, err[-2000:]) for code, _, err in ended]}"
        reports[mode] = [json.loads(out) for _, out, _ in ended]


def test_sqlite(mounted, scratch):
    os.mkdir(mounted.path("db"))
    with Killer(mounted) as killer, workers(mounted, scratch, "db") as reports:
        time.sleep(3)
        wait_for(lambda: not killer.working, 1000, "the kills", every=0.1)
    for mode in MODES:
        path = mounted.path("db", mode)
        print(mode, *(f"{report['transactions']} transactions, longest {report['longest']:.2f} s;"
                      for report in reports[mode]))
        assert sum(report["transactions"] for report in reports[mode]) > 10
        assert sqlite3(path, "pragma integrity_check") == "ok"
        assert sqlite3(path, "select sum(balance) from accounts") == str(database.ACCOUNTS * database.EACH)
        found = sqlite3(path, "select worker, count(*), sum(value) from entries group by worker order by worker")
        assert found.splitlines() == [f"{number}|{report['rows']}|{report['sum']}"
                                      for number, report in enumerate(reports[mode])]
    assert_arrived(mounted, "db")


# ---- fio

JOBS = [("psync", "randrw", "4k"), ("libaio", "randwrite", "16k"), ("mmap", "randwrite", "4k"), ("psync", "write", "64k")]


def fio_jobs(direct):
    for engine, pattern, size in JOBS:
        yield from (f"--name={engine}-{pattern}", f"--ioengine={engine}", f"--rw={pattern}", f"--bs={size}",
                    f"--direct={int(direct and engine != 'mmap')}")


def test_fio(mounted):
    os.mkdir(mounted.path("fio"))
    common = ["--directory=" + mounted.path("fio"), "--size=8m", "--iodepth=4", "--verify=crc32c", "--verify_fatal=1",
              "--verify_state_save=0",
              "--end_fsync=1", "--minimal"]
    with Killer(mounted) as killer:
        for number in rounds(killer):
            # Every other round in the files of the one before, every third with O_DIRECT.
            run("fio", *common, f"--randseed={number + 1}", f"--unlink={number % 2}",
                f"--fallocate={'native' if number % 4 == 0 else 'none'}", *fio_jobs(direct=number % 3 == 2))
    assert_arrived(mounted)


# ---- git

def test_git(mounted, scratch):
    origin = os.path.join(scratch, "origin")
    run("git", "init", "-q", "--bare", "-b", "main", origin)
    subprocess.run(["git", "-C", origin, "fast-import", "--quiet"], input=trees.fast_import(), env=ENVIRONMENT, check=True)
    head = run("git", "-C", origin, "rev-parse", "main")
    with Killer(mounted) as killer:
        for number in rounds(killer):
            clone = mounted.path(f"clone{number}")
            # In turn as a pack from upload-pack, and as a copy of the files.
            run("git", "clone", "-q", "--no-local" if number % 2 == 0 else "--no-hardlinks", origin, clone)
            assert run("git", "status", "--porcelain", cwd=clone) == ""
            assert run("git", "rev-parse", "HEAD", cwd=clone) == head
            run("git", "fsck", "--full", "--strict", cwd=clone)
            run("git", "checkout", "-q", "-b", "work", "HEAD~100", cwd=clone)
            for name in ("one", "two"):
                with open(os.path.join(clone, name), "w", encoding="ascii") as file:
                    file.write(f"{name} of round {number}\n")
                run("git", "add", name, cwd=clone)
                run("git", "commit", "-q", "-m", name, cwd=clone)
            run("git", "merge", "-q", "-m", "merged", "main", cwd=clone)
            run("git", "gc", "-q", "--prune=now", cwd=clone)
            run("git", "fsck", "--full", "--strict", cwd=clone)
            assert run("git", "status", "--porcelain", cwd=clone) == ""
            assert run("git", "rev-list", "--count", "HEAD", cwd=clone) == f"{trees.COMMITS + 3}\n"
            if number:
                run("rm", "-rf", mounted.path(f"clone{number - 1}"))
    assert_arrived(mounted)


# ---- trees

def test_trees(mounted, scratch):
    """tar, cp -a, ninja and rm -rf."""
    tree = os.path.join(scratch, "tree")
    trees.make_tree(tree)
    trees.make_project(os.path.join(tree, "project"))
    archive = os.path.join(scratch, "tree.tar")
    run("tar", "-C", scratch, "--format=posix", "--xattrs", "-cf", archive, "tree")
    with Killer(mounted) as killer:
        for number in rounds(killer):
            top = mounted.path(f"round{number}")
            os.mkdir(top)
            run("tar", "-C", top, "--xattrs", "-xf", archive)
            run("tar", "-C", top, "-df", archive)
            run("cp", "-a", os.path.join(top, "tree"), os.path.join(top, "copy"))
            assert trees.listing(os.path.join(top, "copy")) == trees.listing(tree)
            run("rm", "-rf", os.path.join(top, "tree"))
            project = os.path.join(top, "copy", "project")
            run("ninja", "-j4", cwd=project)
            assert run("./program", cwd=project) == trees.PROJECT_OUTPUT
            assert "no work to do" in run("ninja", cwd=project)
            with open(os.path.join(project, "sums", "all"), encoding="ascii") as file:
                assert file.read() == trees.PROJECT_SUMS
            if number:
                run("rm", "-rf", mounted.path(f"round{number - 1}"))
    assert_arrived(mounted)
