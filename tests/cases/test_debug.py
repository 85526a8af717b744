"""`ebbfs debug DIR`: an ordinary user, through fusermount3, in the foreground, with a trace."""

import os
import pwd
import subprocess

import pytest

from lib import process
from lib.mount import EBBFS, PROGRAM_DIRS
from lib.wait import wait_for

pytestmark = pytest.mark.sanitize
USER = pwd.getpwnam("nobody").pw_uid  # fusermount3 wants a user with a name


def as_user(*arguments, **options):
    return subprocess.run(arguments, user=USER, group=USER, extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=30, check=False, cwd="/", **options)


@pytest.fixture
def debugged(box):
    """A directory of the user's, under `ebbfs debug`; yields (directory, process, log)."""
    directory = os.path.join(box.base, "theirs")
    os.mkdir(directory)
    with open(os.path.join(directory, "before"), "wb") as file:
        file.write(b"from before\n")
    for path in (directory, os.path.join(directory, "before")):
        os.chown(path, USER, USER)
    environment = {"PATH": os.environ["PATH"], "HOME": directory, "EBBFS_BIN": ":".join(PROGRAM_DIRS)}
    with open(box.log_path, "wb") as log:
        running = subprocess.Popen([EBBFS, "debug", directory], env=environment, user=USER, group=USER, extra_groups=[],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

    def mounted():
        assert running.poll() is None, f"ebbfs debug ended with {running.returncode}: {box.log()}"
        return process.mounts_below(directory)
    wait_for(mounted, 20, "the mount")
    yield directory, running, box.log
    if running.poll() is None:
        subprocess.run(["umount", "-l", directory], check=False)
        running.kill()
        running.wait()


def test_an_ordinary_user(debugged):
    directory, running, log = debugged
    assert as_user("ls", directory).stdout == b"before\n"
    assert as_user("cat", f"{directory}/before").stdout == b"from before\n"
    assert as_user("sh", "-c", f"echo written > {directory}/new && mkdir {directory}/d && mv {directory}/new {directory}/d/"
                   ).returncode == 0
    assert as_user("cat", f"{directory}/d/new").stdout == b"written\n"
    for operation in ("lookup", "open", "create", "mkdir", "rename"):
        assert operation in log().lower(), f"no {operation} in the trace"
    answer = as_user("fusermount3", "-u", directory)
    assert answer.returncode == 0, answer
    assert running.wait(10) == 0
    with open(f"{directory}/d/new", "rb") as file:
        assert file.read() == b"written\n"


def test_it_ends_on_sigterm(debugged):
    directory, running, _ = debugged
    assert as_user("ls", directory).stdout == b"before\n"
    running.terminate()
    assert running.wait(10) == 0
    assert not process.mounts_below(directory)


def test_a_directory_that_is_not_there(box):
    answer = box.command("debug", "/nonexistent")
    assert answer.returncode in (1, 2) and answer.stderr.count(b"\n") == 1
