#!/usr/bin/env python3
"""A stand-in for ebbfs-fusefs: attaches to ebbfs-anchor, serves an empty directory, answers at the status socket.

Installed as `ebbfs-fusefs` in a directory of EBBFS_BIN it lets `ebbfs run` and the command line be tried alone.
$FAKE_STATUS names a file with the answer to ASK_STATUS, $FAKE_LIST one with an object whose names are paths and whose
values are answers to ASK_LIST; both are read anew for every question.

The state holds the first FUSE_INIT; one that finds it there goes on with the connection. When its anchor is gone it
returns everything to the next one; with $FAKE_STAY it does not, and goes on alone. With $FAKE_BRIEF it ends once it
serves. $FAKE_UNABLE says how it fails before that: it `crashes` or `hangs` once attached, or does so once it has
answered FUSE_INIT and said that it serves (`init-crashes`, `init-hangs`). Looking up a name answers ENOENT, and `pin-7` pins the descriptor of an unlinked file that holds `7`, `unpin-7`
gives it up, and `unpin-0` all of them. `later` is answered when the kernel resends the request, `hang` never is.
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

HANDOVER_MAGIC, HANDOVER, ALIVE_SECONDS = 0x65626131, "=IHHiIQQ", 0.25
ATTACH, GRANT, SERVING, ALIVE, PIN, UNPIN, RETURN, TAKEN, MOUNTED = range(1, 10)
NOTIFY_RESEND, RESENT, PARALLEL_DIROPS = 7, 1 << 63, 1 << 18
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


def handover(kind, error=0, version=2, count=0, node=0):
    return struct.pack(HANDOVER, HANDOVER_MAGIC, version, kind, error, count, node, 0)


def receive(anchor, max_fds=0):
    """One message of the anchor: (type, error, count, node, descriptors)."""
    message, fds, _, _ = socket.recv_fds(anchor, 64, max_fds)
    if not message:
        raise ConnectionError("the anchor is gone")
    magic, version, kind, error, count, node, _ = struct.unpack(HANDOVER, message)
    assert (magic, version) == (HANDOVER_MAGIC, 2), message
    return kind, error, count, node, fds


def connect(run):
    anchor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        anchor.connect(f"{run}/anchor")
    except OSError:
        anchor.close()
        raise
    return anchor


def attach(anchor):
    """Returns ([backing, fuse, state], pins by node); exits with 1 when refused."""
    anchor.sendall(handover(ATTACH))
    kind, error, count, _, fds = receive(anchor, 8)
    assert kind == GRANT, kind
    if error:
        sys.exit(f"refused: {os.strerror(error)}")
    assert len(fds) == 3, fds
    assert stat.S_ISDIR(os.fstat(fds[0]).st_mode)
    pins = {}
    for _ in range(count):
        kind, _, _, node, (pin,) = receive(anchor, 1)
        assert kind == PIN and node not in pins, (kind, node)
        pins[node] = pin
    return fds, pins


def give_back(anchor, fds, pins):
    socket.send_fds(anchor, [handover(RETURN, count=len(pins))], fds)
    for node, pin in pins.items():
        socket.send_fds(anchor, [handover(PIN, node=node)], [pin])
    kind, error, _, _, _ = receive(anchor)
    assert kind == TAKEN, kind
    if error:
        sys.exit(f"not taken: {os.strerror(error)}")


def attributes(ino):
    now = int(time.time())
    return struct.pack("=6Q10I", ino, 0, 0, now, now, now, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def reply(fuse, unique, body=b"", error=0):
    try:
        os.write(fuse, struct.pack("=IiQ", 16 + len(body), error, unique) + body)
    except FileNotFoundError:
        pass  # interrupted, or its caller is gone


class Connection:
    """Answers requests as an empty directory does."""

    def __init__(self, fds, pins, anchor):
        self.fds, self.pins, self.anchor = fds, pins, anchor
        self.backing, self.fuse, self.state = fds

    def begin(self):
        """Up to the answer to FUSE_INIT, or on from where another process ended."""
        os.write(self.fuse, struct.pack("=IiQ", 16, NOTIFY_RESEND, 0))
        if os.fstat(self.state).st_size > 0:
            return
        while self.serve_request() != INIT:
            pass

    def say_serving(self):
        """Up to the answer: meanwhile the anchor asks the mount whether it is so. Returns errno."""
        self.anchor.sendall(handover(SERVING))
        while True:
            ready, _, _ = select.select([self.fuse, self.anchor], [], [], 10)
            assert ready, "no answer"
            if self.anchor in ready:
                try:
                    kind, error, _, _, _ = receive(self.anchor)
                except ConnectionError:
                    sys.exit("the anchor is gone")
                assert kind == MOUNTED, kind
                return error
            if self.serve_request() is None:
                sys.exit("the connection has ended")

    def look_up(self, name, unique):
        """Whether that is to be answered."""
        word, _, number = name.partition("-")
        if word == "hang" or (word == "later" and not unique & RESENT):
            print(f"fake: holds {name}", file=sys.stderr, flush=True)
            return False
        if word == "pin":
            fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o600, dir_fd=self.backing)
            os.write(fd, number.encode())
            os.unlink(name, dir_fd=self.backing)
            self.pins[int(number)] = fd
            socket.send_fds(self.anchor, [handover(PIN, node=int(number))], [fd])
        if word == "unpin":
            for node in [int(number)] if int(number) else list(self.pins):
                os.close(self.pins.pop(node))
            self.anchor.sendall(handover(UNPIN, node=int(number)))
        return True

    def serve_request(self):
        """Reads and answers one request. Returns its opcode, or None when the connection has ended."""
        try:
            request = os.read(self.fuse, 1 << 20)
        except OSError as problem:
            return None if problem.errno == errno.ENODEV else 0
        _, opcode, unique, _ = struct.unpack_from("=IIQQ", request)
        body, error = b"", 0
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return opcode
        if opcode == INIT:
            os.pwrite(self.state, request, 0)
            body = struct.pack("=IIIIHHIIHHII24x", 7, 31, 65536, PARALLEL_DIROPS, 12, 9, 65536, 1, 0, 0, 0, 0)
        elif opcode == GETATTR:
            body = struct.pack("=QII", 3600, 0, 0) + attributes(1)  # cached, as by the real one
        elif opcode == LOOKUP:
            if not self.look_up(os.fsdecode(request[40:].rstrip(b"\0")), unique):
                return opcode
            error = -errno.ENOENT
        elif opcode == OPENDIR:
            body = struct.pack("=QIi", 0, 0, 0)
        elif opcode == STATFS:
            body = bytes(80)
        elif opcode not in (READDIR, RELEASEDIR):
            error = -errno.ENOSYS
        reply(self.fuse, unique, body, error)
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
        try:
            client.sendall(struct.pack(">i", error))
            for at in range(0, len(text), CHUNK):
                client.sendall(text[at:at + CHUNK])
        except BrokenPipeError:
            pass  # it did not wait for the answer


def listen(run, name):
    path = f"{run}/{name}"
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    os.chmod(path, 0o666)
    server.listen(64)
    return server


def find_next_anchor(run, connection):
    """The anchor is gone: gives the next one what it needs, as soon as there is one."""
    try:
        anchor = connect(run)
        anchor.settimeout(10)
        give_back(anchor, connection.fds, connection.pins)
    except (FileNotFoundError, ConnectionError):
        return
    connection.anchor = anchor


def serve(run, connection):
    status = listen(run, "status")
    stay = os.environ.get("FAKE_STAY")
    while True:
        sources = [connection.fuse, status] + ([connection.anchor] if connection.anchor else [])
        ready, _, _ = select.select(sources, [], [], ALIVE_SECONDS if connection.anchor else 0.02)
        if connection.anchor in ready:
            connection.anchor.close()
            connection.anchor = None
        elif connection.anchor:
            try:
                connection.anchor.sendall(handover(ALIVE))
            except OSError:
                pass
        elif not stay:
            find_next_anchor(run, connection)
        if connection.fuse in ready and connection.serve_request() is None:
            sys.exit("the connection has ended")
        if status in ready:
            answer_question(status)


def fail(how):
    if how.endswith("crashes"):
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(1000)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run = os.environ.get("EBBFS_RUN", "/run/ebbfs")
    anchor = connect(run)
    fds, pins = attach(anchor)
    held = {node: os.pread(pin, 100, 0).decode() for node, pin in pins.items()}
    print(f"fake: attached resumed={os.fstat(fds[2]).st_size > 0} pins={dict(sorted(held.items()))}", file=sys.stderr,
          flush=True)
    connection = Connection(fds, pins, anchor)
    unable = os.environ.get("FAKE_UNABLE")
    if unable in ("crashes", "hangs"):
        fail(unable)
    connection.begin()
    if unable:
        anchor.sendall(handover(SERVING))
        fail(unable)
    error = connection.say_serving()
    if error:
        sys.exit(f"not mounted: {os.strerror(error)}")
    if os.environ.get("FAKE_BRIEF"):
        sys.exit(1)
    serve(run, connection)


if __name__ == "__main__":
    main()
