#!/usr/bin/env python3
"""count.py FORM SUITE FILE EXPECTED-SKIPS: prints `PASSED FAILED SKIPPED UNEXPECTED-SKIPS` of what a runner wrote.

FORM: junit (pytest --junitxml), meson (testlog.json), lines (the last line `N passed, N failed, N skipped`, and JSON
lines {"skipped", "reason"} in the file $EBBFS_TEST_SKIPS or FILE with .skips for .log). Each skip goes to stderr with its
reason, those with the same reason as one line. EXPECTED-SKIPS holds lines `PATTERN: REASON`; a pattern is a glob on
`SUITE/NAME`. The reasons that a suite lists itself, after ` : ` in tests/SUITE/differences, are expected too.
"""

import fnmatch
import json
import os
import re
import sys
import xml.etree.ElementTree


def from_junit(path):
    passed, failed, skips = 0, 0, []
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag: child for child in case}
        if "failure" in kinds or "error" in kinds:
            failed += 1
        elif "skipped" in kinds:
            skips.append((case.get("name"), kinds["skipped"].get("message", "")))
        else:
            passed += 1
    return passed, failed, skips


def from_meson(path):
    passed, failed, skips = 0, 0, []
    with open(path, encoding="utf-8") as file:
        for entry in map(json.loads, file):
            if entry["result"] in ("OK", "EXPECTEDFAIL"):
                passed += 1
            elif entry["result"] == "SKIP":
                skips.append((entry["name"], entry.get("stdout", "").strip()[-200:]))
            else:
                failed += 1
    return passed, failed, skips


def from_lines(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    match = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", lines[-1] if lines else "")
    if not match:
        sys.exit(f"{path}: the last line is not `N passed, N failed, N skipped`")
    passed, failed, skipped = map(int, match.groups())
    skips, named = [], os.path.splitext(path)[0] + ".skips"
    if os.path.exists(named):
        with open(named, encoding="utf-8") as file:
            skips = [(entry["skipped"], entry["reason"]) for entry in map(json.loads, file)]
    skips += [("unnamed", "the suite did not say")] * (skipped - len(skips))
    return passed, failed, skips


def expected_patterns(path):
    with open(path, encoding="utf-8") as file:
        return [line.split(": ", 1)[0] for line in file if line.strip() and not line.startswith("#")]


def listed_reasons(suite):
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), suite, "differences")
    if not os.path.exists(path):
        return set()
    with open(path, encoding="utf-8") as file:
        return {line.partition(" : ")[2].strip() for line in file if not line.startswith("#")} - {""}


def main():
    form, suite, path, expected = sys.argv[1:]
    passed, failed, skips = {"junit": from_junit, "meson": from_meson, "lines": from_lines}[form](path)
    if passed + failed + len(skips) == 0:
        sys.exit(f"{path}: no test ran")
    patterns, reasons, unexpected, groups = expected_patterns(expected), listed_reasons(suite), 0, {}
    for name, reason in skips:
        known = reason in reasons or any(fnmatch.fnmatchcase(f"{suite}/{name}", pattern) for pattern in patterns)
        unexpected += not known
        groups.setdefault((known, reason), []).append(name)
    for (known, reason), names in groups.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"skipped {suite}/{names[0]}{more}: {reason}{'' if known else ' (not expected)'}", file=sys.stderr)
    print(passed, failed, len(skips), unexpected)


if __name__ == "__main__":
    main()
