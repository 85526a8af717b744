"""Fixtures of the cases: one S3 server for all, a bucket and a box (tests/lib/mount.py) for each test.

EBBFS_BUILD: the build to test. EBBFS_PASSTHROUGH=no: the same by ordinary reads and writes. EBBFS_TEST_FULL=1: outages
last as long as in life. EBBFS_TEST_LOGS: where logs of failed tests are kept. EBBFS_TEST_PATIENCE: factor of deadlines.
"""

import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib.mount import BUILD, EBBFS, Box
from lib.s3 import S3Server


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than some seconds")
    config.addinivalue_line("markers", "passthrough: says something about passthrough only")
    config.addinivalue_line("markers", "sanitize: also run with the ASan+UBSan build")
    if not os.access(EBBFS, os.X_OK):
        raise pytest.UsageError(f"{EBBFS} is not there: EBBFS_BUILD must name a finished build")
    if os.geteuid() != 0:
        raise pytest.UsageError("the cases mount filesystems: run them as root (container/dev does)")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("EBBFS_PASSTHROUGH") == "no":
        gone = [item for item in items if item.get_closest_marker("passthrough")]
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    item.stash.setdefault(FAILED, False)
    item.stash[FAILED] = item.stash[FAILED] or report.failed


FAILED = pytest.StashKey()


@pytest.fixture(scope="session")
def shared_server():
    with S3Server() as server:
        yield server


@pytest.fixture
def server(shared_server):
    defaults = shared_server.control("GET", "/state")["options"]
    yield shared_server
    shared_server.listen()
    shared_server.clear_faults()
    shared_server.options(**defaults)
    errors = shared_server.stderr()
    assert errors == "", f"the S3 server had an error of its own: {errors}"


@pytest.fixture
def bucket(server, request):
    view = server.bucket(re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-"))
    yield view
    view.drop()


@pytest.fixture
def make_box(server, bucket, request):
    """Makes boxes that are closed, and looked at for leftovers, at the end of the test."""
    boxes = []

    def make(**options):
        box = Box(options.pop("server", server), options.pop("bucket", bucket), **options)
        boxes.append(box)
        return box
    yield make
    server.listen()
    server.clear_faults()
    problems = []
    for number, box in enumerate(boxes):
        keep = None
        if request.node.stash.get(FAILED, False):
            folder = os.environ.get("EBBFS_TEST_LOGS", os.path.join(BUILD, "case-logs"))
            os.makedirs(folder, exist_ok=True)
            keep = os.path.join(folder, f"{re.sub('[^A-Za-z0-9_-]+', '-', request.node.name)}-{number}.log")
            print(f"ebbfs's log is kept in {keep}; its end:\n" + "\n".join(box.log().splitlines()[-40:]))
        problems += box.close(keep)
    assert not problems, problems


@pytest.fixture
def box(make_box):
    """Not started yet."""
    return make_box()


@pytest.fixture
def mounted(box):
    return box.start()


@pytest.fixture(scope="session")
def outage_seconds():
    return 60 if os.environ.get("EBBFS_TEST_FULL") else 5
