"""What a hundred thousand files cost."""

import os

import pytest

from lib import process
from lib.wait import wait_for

FILES = 100_000
LIMIT_KIB = 32 * 1024


@pytest.mark.slow
def test_memory_with_100000_files_known(make_box, server):
    """All of them known, listed and stat'ed through the mount. They are in the bucket already: this is about memory."""
    server.options(verify=False)
    box = make_box(EBBFS_LOG="info")
    for number in range(FILES):
        folder = box.path(f"{number % 100:02d}")
        if number < 100:
            os.mkdir(folder)
        with open(f"{folder}/some-name-of-usual-length-{number:06d}.dat", "wb") as file:
            file.write(b"%d" % number)
    server.control("POST", "/preload", {"bucket": box.bucket.name, "prefix": "pre/fix", "directory": box.data})
    box.start()
    wait_for(lambda: box.status()["files"]["proven"] == FILES, 400, "100,000 files proven", every=1)
    assert box.puts() == 0
    seen = sum(os.stat(os.path.join(folder, name)).st_size > 0 for folder, _, names in os.walk(box.data) for name in names)
    assert seen == FILES
    used = {process.name(pid): process.memory_kib(pid) for pid in box.pids()}
    print(f"KiB: {used}")
    assert {"ebbfs-anchor", "ebbfs-fusefs", "ebbfs-uploader"} <= set(used)
    assert sum(used.values()) < LIMIT_KIB, used


@pytest.mark.slow
def test_descriptors_stay_few(make_box):
    """No descriptor is held per known file."""
    box = make_box(EBBFS_LOG="info").start()
    for number in range(3000):
        box.write(f"{number % 30}/{number}", b"%d" % number)
    box.settle_down(120)
    sum(1 for _ in os.walk(box.data))
    for name in ("ebbfs-fusefs", "ebbfs-anchor", "ebbfs-uploader"):
        descriptors = len(os.listdir(f"/proc/{box.pid(name)}/fd"))
        assert descriptors < 300, (name, descriptors)
