"""Faults on demand. A rule is a JSON object:

match     {"operation": "PutObject", "method": "PUT", "key": "glob"}: all that are given must fit
          which of the fitting requests are hit: "skip": the first S go by; then "count": N of them, "every": every
          k-th, "probability": p, or (none of the three) all
action    "status"        answer {"status": 503, "code": "SlowDown", "headers": {…}} without doing anything
          "reset"         close the connection hard after {"bytes": N} bytes of the request's body
          "stall"         wait {"seconds": T}, or until the rule is released, after {"bytes": N}; then go on
          "truncate"      cut the answer's body after {"bytes": N} and close the connection
          "copy_error"    200 with an <Error> body {"code": …}
          "checksum"      return a wrong x-amz-checksum-sha256
          "etag"          return a wrong ETag
          "lost_answer"   do it, then close the connection without an answer
          "corrupt"       store or return other bytes than were sent (same length)
"""

import asyncio
import fnmatch
import itertools
import random

ACTIONS = {"status", "reset", "stall", "truncate", "copy_error", "checksum", "etag", "lost_answer", "corrupt"}
FIELDS = {"match", "skip", "count", "every", "probability", "action", "status", "code", "headers", "bytes", "seconds"}


class Rule:
    numbers = itertools.count(1)

    def __init__(self, spec):
        unknown = set(spec) - FIELDS
        if unknown or spec.get("action") not in ACTIONS:
            raise ValueError(f"fault rule {spec}: action one of {sorted(ACTIONS)}, no unknown fields {sorted(unknown)}")
        self.spec, self.id = spec, next(self.numbers)
        self.matched = self.hits = self.waiting = 0
        self.released = asyncio.Event()
        self.random = random.Random(self.id)

    def fits(self, method, operation, key):
        match = self.spec.get("match", {})
        return (match.get("method", method) == method and match.get("operation", operation) == operation
                and fnmatch.fnmatchcase(key or "", match.get("key", "*")))

    def takes(self):
        spec = self.spec
        self.matched += 1
        number = self.matched - spec.get("skip", 0)
        if number <= 0 or (number > spec["count"] if "count" in spec else False):
            return False
        if "every" in spec and number % spec["every"]:
            return False
        if "probability" in spec and self.random.random() >= spec["probability"]:
            return False
        self.hits += 1
        return True

    async def stall(self):
        self.waiting += 1
        try:
            await asyncio.wait_for(self.released.wait(), self.spec.get("seconds"))
        except asyncio.TimeoutError:
            pass
        finally:
            self.waiting -= 1

    def state(self):
        return {"id": self.id, "matched": self.matched, "hits": self.hits, "waiting": self.waiting, **self.spec}


class Faults:
    def __init__(self):
        self.rules = []

    def add(self, spec):
        self.rules.append(Rule(spec))
        return self.rules[-1]

    def pick(self, method, operation, key):
        """The first rule that takes this request, or None."""
        for rule in self.rules:
            if rule.fits(method, operation, key) and rule.takes():
                return rule
        return None

    def clear(self, rule_id=None):
        """Removes one rule or all; requests that stall go on."""
        for rule in self.rules:
            if rule_id in (None, rule.id):
                rule.released.set()
        self.rules = [rule for rule in self.rules if rule_id not in (None, rule.id)]
