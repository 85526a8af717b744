#!/usr/bin/python3
"""manifest.py MANIFEST DIR COUNT: every file that file-writer noted is there with the content that it noted."""
import hashlib
import os
import sys

from content import read_manifest

manifest, directory, count = sys.argv[1:]
files = read_manifest(manifest)
found = sum(len(names) for _, _, names in os.walk(directory))
assert len(files) == found == int(count), (len(files), found)
for name, digest in files.items():
    with open(os.path.join(os.fsencode(directory), name), "rb") as data:
        assert hashlib.sha256(data.read()).hexdigest() == digest, name
sizes = {os.path.getsize(os.path.join(os.fsencode(directory), name)) for name in files}
assert sizes == {0, 1001, 300001}, sizes
