#!/usr/bin/env python3
"""Plays ebbfs-fusefs towards an uploader: listens at RUN/jobs, hands over files, prints the results.

    jobs.py RUN PATH=KEY...            each file to its key; one JSON object a line, in order of the end
    jobs.py RUN --check PATH=KEY       asks the bucket first
    jobs.py RUN --copy SOURCE PATH=KEY a server-side copy of SOURCE, with the file to fall back on

As a module: Fusefs(run) gives accept(), put(), copy(), cancel(), result(). The protocol is uploader/wire/job.h.
"""

import argparse
import hashlib
import json
import os
import socket
import struct
import sys

MAGIC = 0x65626A31
VERSION = 1
HELLO, REQUEST, RESULT, CANCEL = 1, 2, 3, 4
PUT, COPY = 1, 2
CHECK_FIRST = 1
MESSAGE_MAX = 96 * 1024
OUTCOMES = {1: "done", 2: "changed", 3: "retry", 4: "parked"}
PROOFS = {0: "none", 1: "sha256", 2: "md5-etag", 3: "read-back"}
WAYS = {0: "none", 1: "put", 2: "present", 3: "copied"}


class Reader:
    """Takes big-endian fields off the front of a message."""

    def __init__(self, message):
        self.message, self.at = message, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.message, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0]

    def text(self):
        length = self.take("H")
        return self.take(f"{length}s").decode()


def decode_result(message):
    reader = Reader(message)
    magic, version, kind = reader.take("I"), reader.take("H"), reader.take("H")
    if (magic, version, kind) != (MAGIC, VERSION, RESULT):
        raise ValueError(f"no result: {message[:16]!r}")
    result = {
        "id": reader.take("Q"),
        "outcome": OUTCOMES[reader.take("B")],
        "proof": PROOFS[reader.take("B")],
        "way": WAYS[reader.take("B")],
        "size": reader.take("Q"),
        "duration_ms": reader.take("I"),
        "http_status": reader.take("H"),
        "endpoint_down": bool(reader.take("B")),
        "sha256": reader.take("32s").hex(),
        "md5": reader.take("16s").hex(),
        "etag": reader.text(),
        "version_id": reader.text(),
        "text": reader.text(),
        "block_shift": reader.take("B"),
    }
    result["blocks"] = [reader.take("32s").hex() for _ in range(reader.take("I"))]
    if reader.at != len(message):
        raise ValueError("bytes left over")
    return result


class Fusefs:
    """The listening side. Not thread-safe."""

    def __init__(self, run, timeout=60):
        path = os.path.join(run, "jobs")
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(4)
        self.listener.settimeout(timeout)
        self.timeout, self.peer, self.capacity, self.last_id = timeout, None, 0, 0

    def accept(self):
        """Waits for an uploader and its hello; returns its capacity."""
        self.peer, _ = self.listener.accept()
        self.peer.settimeout(self.timeout)
        reader = Reader(self.peer.recv(MESSAGE_MAX))
        if (reader.take("I"), reader.take("H"), reader.take("H")) != (MAGIC, VERSION, HELLO):
            raise ValueError("no hello")
        reader.take("Q")
        self.capacity = reader.take("I")
        return self.capacity

    def send(self, fd, key, kind=PUT, flags=0, known=None, source="", source_version="", stat=None):
        """Sends a request; known: (sha256, md5) as bytes. Returns the job's id."""
        stat = stat or os.fstat(fd)
        self.last_id += 1
        sha256, md5 = known or (bytes(32), bytes(16))
        message = struct.pack(">IHHQ", MAGIC, VERSION, REQUEST, self.last_id)
        message += struct.pack(">BIQqQB", kind, flags, stat.st_size, stat.st_mtime_ns, 1, known is not None)
        message += sha256 + md5
        for text in (key, source, source_version):
            message += struct.pack(">H", len(text.encode())) + text.encode()
        socket.send_fds(self.peer, [message], [fd])
        return self.last_id

    def put(self, path, key, **more):
        with open(path, "rb") as file:
            return self.send(file.fileno(), key, **more)

    def copy(self, path, key, source, **more):
        return self.put(path, key, kind=COPY, source=source, **more)

    def cancel(self, job):
        self.peer.send(struct.pack(">IHHQ", MAGIC, VERSION, CANCEL, job))

    def result(self):
        """The next result, or None when the uploader has gone."""
        message = self.peer.recv(MESSAGE_MAX)
        return decode_result(message) if message else None

    def close(self):
        if self.peer:
            self.peer.close()
        self.listener.close()


def digests(path):
    with open(path, "rb") as file:
        content = file.read()
    return hashlib.sha256(content).digest(), hashlib.md5(content).digest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--known", action="store_true", help="say the digests beforehand")
    parser.add_argument("--copy", metavar="SOURCE", default="")
    parser.add_argument("pairs", nargs="+", metavar="PATH=KEY")
    args = parser.parse_args()
    fusefs = Fusefs(args.run)
    fusefs.accept()
    waiting = [pair.split("=", 1) for pair in args.pairs]
    open_jobs, failed = 0, 0
    while waiting or open_jobs:
        while waiting and open_jobs < fusefs.capacity:
            path, key = waiting.pop(0)
            fusefs.put(path, key, kind=COPY if args.copy else PUT, source=args.copy,
                       flags=CHECK_FIRST if args.check else 0, known=digests(path) if args.known else None)
            open_jobs += 1
        result = fusefs.result()
        if result is None:
            sys.exit("the uploader has gone")
        open_jobs -= 1
        failed += result["outcome"] != "done"
        print(json.dumps(result), flush=True)
    fusefs.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
