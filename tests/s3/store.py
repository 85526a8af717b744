"""The buckets and objects of the test server: bodies up to 1 MiB in memory, larger ones in a directory."""

import base64
import bisect
import hashlib
import itertools
import os
import time

IN_MEMORY_MAX = 1 << 20


class Body:
    """Collects a body, hashing it on the way."""

    def __init__(self, directory):
        self.directory = directory
        self.chunks, self.file, self.path = [], None, None
        self.size = 0
        self.sha256, self.md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def write(self, chunk):
        self.size += len(chunk)
        self.sha256.update(chunk)
        self.md5.update(chunk)
        if self.file is None and self.size > IN_MEMORY_MAX:
            self.path = os.path.join(self.directory, f"body-{id(self):x}-{time.monotonic_ns()}")
            self.file = open(self.path, "wb")
            self.file.write(b"".join(self.chunks))
            self.chunks = []
        if self.file is None:
            self.chunks.append(bytes(chunk))
        else:
            self.file.write(chunk)

    def close(self):
        if self.file is not None:
            self.file.close()

    def __del__(self):
        if self.path is not None:
            try:
                self.file.close()
                os.unlink(self.path)
            except FileNotFoundError:
                pass  # the directory was taken away as a whole

    def read(self, start=0, length=None):
        length = self.size - start if length is None else length
        if self.path is None:
            return b"".join(self.chunks)[start:start + length]
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(length)


class Object:
    """One version. Copies share the body, which is never changed."""

    def __init__(self, body, metadata, headers, checksum):
        self.body, self.metadata, self.headers = body, metadata, headers
        self.sha256_base64 = checksum  # as given at PUT; None: the client gave none
        self.etag = body.md5.hexdigest()
        self.modified = time.time()
        self.version_id = None
        self.deleted = False  # a delete marker


class Bucket:
    def __init__(self):
        self.versions = {}  # key → newest last
        self.keys = []  # sorted by their UTF-8 bytes
        self.versioning = False
        self.numbers = itertools.count(1)

    def get(self, key, version_id=None):
        for candidate in reversed(self.versions.get(key, [])):
            if version_id is None or candidate.version_id == version_id:
                return None if candidate.deleted else candidate
        return None

    def put(self, key, stored):
        if key not in self.versions:
            bisect.insort(self.keys, key, key=lambda text: text.encode())
        if self.versioning:
            stored.version_id = f"v{next(self.numbers)}"
            self.versions.setdefault(key, []).append(stored)
        else:
            self.versions[key] = [stored]

    def delete(self, key):
        if self.versioning:
            marker = Object(Body(None), {}, {}, None)
            marker.deleted = True
            self.put(key, marker)
        elif key in self.versions:
            del self.versions[key]
            self.keys.remove(key)

    def page(self, prefix, after, limit):
        """Live keys with the prefix, greater than `after`, in order; at most limit."""
        raw, found = prefix.encode(), []
        start = bisect.bisect_left(self.keys, max(raw, (after or "").encode()), key=lambda text: text.encode())
        for key in itertools.islice(self.keys, start, None):
            if not key.encode().startswith(raw):
                break
            if (after is None or key.encode() > after.encode()) and self.get(key):
                found.append(key)
                if len(found) == limit:
                    break
        return found


def sha256_base64(body):
    return base64.b64encode(body.sha256.digest()).decode()
