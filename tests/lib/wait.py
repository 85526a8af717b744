"""Deadlines instead of sleeps."""

import os
import time

# Sanitizer builds and busy machines are slower: one factor for every deadline.
FACTOR = float(os.environ.get("EBBFS_TEST_PATIENCE", "1"))


def wait_for(predicate, seconds=20, what="", every=0.02):
    """Calls predicate until its result is true, and returns that. Says on failure what it waited for, and what came."""
    deadline = time.monotonic() + seconds * FACTOR
    while True:
        result = predicate()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * FACTOR:g} s: {what or predicate}; last: {result!r}")
        time.sleep(every)
