#!/usr/bin/env python3
"""A stand-in for ebbfs-fusefs: attaches to ebbfs-anchor, serves an empty directory, answers at the status socket.

Installed as `ebbfs-fusefs` in a directory of EBBFS_BIN it lets `ebbfs run` and the command line be tried alone.
$FAKE_STATUS names a file with the answer to ASK_STATUS, $FAKE_LIST one with an object whose names are paths and whose
values are answers to ASK_LIST; both are read anew for every question. With $FAKE_STAY it goes on without its anchor.
A look-up of the name `hang` is never answered.
"""

import errno
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time

HANDOVER_MAGIC, ATTACH, GRANT, SERVING = 0x65626131, 1, 2, 3
ASK_MAGIC, ASK_STATUS, ASK_LIST = 0x65627131, 1, 2
CHUNK = 32768
LOOKUP, FORGET, GETATTR, STATFS, INIT, OPENDIR, READDIR, RELEASEDIR = 1, 2, 3, 17, 26, 27, 28, 29
INTERRUPT, BATCH_FORGET = 36, 42

STATUS = {
    "version": 1, "state": "serving", "mount": "/data", "target": "s3://bucket/prefix", "passthrough": True,
    "scan": "done",
    "files": {"closed": 512, "settling": 0, "queued": 0, "uploading": 0, "uploaded": 512, "parked": 0,
              "present": 0, "copied": 0, "known": 512, "proven": 512},
    "bytes": {"uploaded": 1048576}, "oldest_waiting_seconds": 0, "uploader": "connected",
    "fuse": {"read": 0, "write": 0},
    "disk": {"total": 10 << 30, "free": 7 << 30, "inodes_total": 655360, "inodes_free": 600000},
    "s3": {"last_success_seconds": 0.5, "last_failure_seconds": None}, "last_error": "",
}


def handover(kind, error=0, version=1):
    return struct.pack("=IHHiI", HANDOVER_MAGIC, version, kind, error, 0)


def attach(run):
    """Returns (connection, backing, fuse, state); exits with 1 when refused."""
    anchor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    anchor.connect(f"{run}/anchor")
    anchor.sendall(handover(ATTACH))
    message, fds, _, _ = socket.recv_fds(anchor, 64, 8)
    magic, _, kind, error, _ = struct.unpack("=IHHiI", message)
    assert (magic, kind) == (HANDOVER_MAGIC, GRANT), message
    if error:
        sys.exit(f"refused: {os.strerror(error)}")
    assert len(fds) == 3, fds
    assert stat.S_ISDIR(os.fstat(fds[0]).st_mode)
    return anchor, *fds


def attributes(ino):
    now = int(time.time())
    return struct.pack("=6Q10I", ino, 0, 0, now, now, now, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def serve_request(fuse):
    """Reads and answers one request. Returns its opcode, or None when the connection has ended."""
    try:
        request = os.read(fuse, 1 << 20)
    except OSError as problem:
        return None if problem.errno == errno.ENODEV else 0
    _, opcode, unique, _ = struct.unpack_from("=IIQQ", request)
    body, error = b"", 0
    if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
        return opcode
    if opcode == INIT:
        body = struct.pack("=IIIIHHIIHHII24x", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0, 0)
    elif opcode == GETATTR:
        body = struct.pack("=QII", 3600, 0, 0) + attributes(1)  # cached, as by the real one
    elif opcode == LOOKUP:
        if request[40:].rstrip(b"\0") == b"hang":
            return opcode
        error = -errno.ENOENT
    elif opcode == OPENDIR:
        body = struct.pack("=QIi", 0, 0, 0)
    elif opcode == STATFS:
        body = bytes(80)
    elif opcode not in (READDIR, RELEASEDIR):
        error = -errno.ENOSYS
    os.write(fuse, struct.pack("=IiQ", 16 + len(body), error, unique) + body)
    return opcode


def answer_for(kind, path):
    source = os.environ.get("FAKE_STATUS" if kind == ASK_STATUS else "FAKE_LIST")
    if not source:
        return (0, json.dumps(STATUS).encode()) if kind == ASK_STATUS else (errno.ENOENT, b"")
    with open(source, "rb") as file:
        text = file.read()
    if kind == ASK_STATUS:
        return 0, text
    answers = json.loads(text)
    return (0, json.dumps(answers[path]).encode()) if path in answers else (errno.ENOENT, b"")


def answer_question(server):
    client, _ = server.accept()
    with client:
        question = client.recv(8192)
        magic, version, kind, length = struct.unpack_from(">IHHH", question)
        assert length == len(question) - 10
        assert (magic, version) == (ASK_MAGIC, 1)
        error, text = answer_for(kind, os.fsdecode(question[10:]))
        client.sendall(struct.pack(">i", error))
        for at in range(0, len(text), CHUNK):
            client.sendall(text[at:at + CHUNK])


def listen(run, name):
    path = f"{run}/{name}"
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    os.chmod(path, 0o666)
    server.listen(64)
    return server


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run = os.environ.get("EBBFS_RUN", "/run/ebbfs")
    anchor, _, fuse, _ = attach(run)
    while serve_request(fuse) != INIT:
        pass
    anchor.sendall(handover(SERVING))
    status = listen(run, "status")
    sources = [fuse, status, anchor]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if anchor in ready and os.environ.get("FAKE_STAY"):
            sources.remove(anchor)
            continue
        if anchor in ready:
            sys.exit("the anchor is gone")
        if fuse in ready and serve_request(fuse) is None:
            sys.exit("the connection has ended")
        if status in ready:
            answer_question(status)


if __name__ == "__main__":
    main()
