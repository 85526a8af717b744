"""The demo, inside the dev root: container/demo starts it, and says there what its options mean."""
import argparse
import os
import shutil
import signal
import sys
import threading
import time

from bucket import Bucket
from content import read_manifest
from keys import key_of
from parts import Ebbfs, Failed, Swift, Writer, adopt_orphans, end_descendants, tail
from view import View

BUCKET = "ebbfs-demo"
PREFIX = "demo"
START_SECONDS = 60
STOP_SECONDS = 30
SCAN_SECONDS = 3600
EXAMPLES = 5
AWS = {
    "AWS_ACCESS_KEY_ID": "test:tester",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}


class Interrupted(Exception):
    pass


class Demo:
    def __init__(self, settings):
        self.settings = settings
        self.directory = settings.directory
        for name in ("data", "state", "log"):
            os.makedirs(self.path(name), exist_ok=True)
        self.view = View(settings.columns)
        self.swift = Swift(self.path("swift"), settings.port)
        self.bucket = Bucket(self.swift.endpoint, BUCKET, AWS)
        build = settings.build
        environment = {
            **AWS, "AWS_ENDPOINT_URL": self.swift.endpoint, "EBBFS_S3_ADDRESSING": "path",
            "EBBFS_TARGET": f"s3://{BUCKET}/{PREFIX}", "EBBFS_DRAIN": "10s",
            "EBBFS_BIN": ":".join(os.path.join(build, part) for part in
                                  ("fusefs/cli", "fusefs/anchor", "fusefs/policy", "uploader/worker")),
        }
        self.ebbfs = Ebbfs(settings.ebbfs or os.path.join(build, "fusefs/cli/ebbfs"), self.directory, environment)
        self.writer = None
        self.expected = {}  # file name, relative: SHA-256
        self.restarted = False

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def say(self, text):
        self.view.say("demo: " + text)

    def file_writer(self, *arguments):
        program = os.path.join(self.settings.build, "container/file-writer/file-writer")
        return Writer([program, "--dir", self.path("data"), "--manifest", self.path("manifest"), *arguments],
                      self.path("log", "writer.log"))

    # Before: what lies there already when ebbfs comes.

    def prepare(self):
        if not os.access(self.ebbfs.program, os.X_OK):
            raise Failed(f"there is no program {self.ebbfs.program}")
        self.say(f"starting Swift with its S3 API at {self.swift.endpoint}")
        self.swift.start()
        self.bucket.create()

    def write_existing(self):
        count = self.settings.existing
        if not count:
            return
        self.say(f"writing {count} files into the directory, as if from before ebbfs")
        writer = self.file_writer("--count", str(count), "--rate", "0", "--append-pause", "0")
        while not writer.ended():
            time.sleep(0.1)
        if writer.stop() != 0:
            raise Failed("file-writer failed before ebbfs was there:\n" + tail(writer.log))

    def start_ebbfs(self):
        self.say(f"starting ebbfs over {self.ebbfs.data}")
        self.ebbfs.start()
        self.ebbfs.await_mount(START_SECONDS)

    # The load.

    def start_writer(self):
        if self.settings.tree:
            # -P: without it, tar writes empty files in the place of symlinks and replaces them at its end.
            self.writer = Writer(["tar", "-x", "-p", "-P", "--numeric-owner", "-C", self.path("data"),
                                  "-f", self.path("tree.tar")], self.path("log", "writer.log"))
        else:
            self.writer = self.file_writer(*self.settings.writer)

    def written(self):
        """Files that file-writer has finished; None when somebody else writes, or nobody."""
        if self.settings.tree or self.restarted:
            return None
        try:
            with open(self.path("manifest"), "rb") as manifest:
                return sum(1 for _ in manifest) - self.settings.existing
        except FileNotFoundError:
            return 0

    def show(self, title):
        self.ebbfs.check_alive()
        self.view.update(title, self.ebbfs.status(), self.written(), self.swift.latest_keys(EXAMPLES))

    def watch_writer(self):
        seconds = self.settings.seconds
        started = time.monotonic()
        while not self.writer.ended():
            passed = time.monotonic() - started
            if seconds and passed >= seconds:
                break
            if self.settings.tree:
                title = "copying the tree"
            else:
                title = f"file-writer for {seconds} s" if seconds else "Ctrl-C ends it"
            self.show(title)
            time.sleep(1 if not seconds else max(0, min(1, seconds - passed)))
        self.stop_writer()

    def stop_writer(self):
        writer, self.writer = self.writer, None
        status = writer.stop()
        if status is None:
            raise Failed("the writer hangs in a system call")
        with open(writer.log, errors="replace") as log:
            lines = [line.rstrip() for line in log]
        if status != 0:
            raise Failed(f"an error reached the writer (exit status {status}):\n{tail(writer.log)}")
        self.say("no error reached the writer" + (f": {lines[-1]}" if lines else ""))

    def drain(self):
        """Waits, with the view going on, until all that was closed is proven by ebbfs itself."""
        limit = SCAN_SECONDS
        command = self.ebbfs.ask("drain", "--timeout", f"{limit}s")
        while command.poll() is None:
            self.show("waiting for the last uploads")
            time.sleep(0.5)
        output = command.stdout.read().strip()
        if command.returncode != 0 and not self.only_long_keys_left(command.returncode):
            raise Failed(f"ebbfs drain: exit status {command.returncode} {output}")

    def only_long_keys_left(self, drain_status):
        """Whether nothing is missing but the files whose key S3 cannot hold; drain says 1 of those, rightly."""
        files = (self.ebbfs.status() or {}).get("files", {})
        _, too_long = self.keyed()
        waiting = files.get("settling", 0) + files.get("queued", 0) + files.get("uploading", 0)
        return drain_status == 1 and waiting == 0 and files.get("parked") == len(too_long) > 0

    # The proof.

    def expect(self):
        """What must be in the bucket, by those who made it: file-writer's manifest, sha256sum's list of the tree."""
        self.expected = read_manifest(self.path("manifest"))
        if os.path.exists(self.path("tree.sha256")):
            with open(self.path("tree.sha256"), "rb") as listing:
                for entry in listing.read().split(b"\0"):
                    if entry:
                        digest, name = entry[:64].decode(), entry[66:]
                        self.expected[name.removeprefix(b"./")] = digest
        if not self.expected:
            raise Failed("no file was written")

    def keyed(self):
        keyed, too_long = {}, []
        for name, digest in self.expected.items():
            key = key_of(PREFIX, name)
            if key is None:
                too_long.append(name)
            else:
                keyed[key] = digest
        return keyed, too_long

    def compare(self):
        keyed, too_long = self.keyed()
        self.say(f"reading {len(keyed)} objects back with boto3 to compare their SHA-256")
        stopping = threading.Event()
        next_word = time.monotonic() + 10

        def progress(done):
            nonlocal next_word
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + 10
                self.say(f"{done} of {len(keyed)} compared")
        try:
            result = self.bucket.compare(keyed, stopping, progress)
        finally:
            stopping.set()
        result.parked = too_long
        self.report(result, len(self.expected))

    def report(self, result, count):
        self.say(f"{count} files closed: {result.equal} in the bucket with equal SHA-256, {len(result.missing)} missing, "
                 f"{len(result.different)} different, {len(result.parked)} whose key is too long for S3; "
                 f"{result.others} other objects")
        for title, keys in (("missing", result.missing), ("different", result.different)):
            for key in keys[:EXAMPLES]:
                self.say(f"  {title}: {key!r}")
        if result.missing or result.different:
            raise Failed("not every closed file is in the bucket")

    # The end, and the beginning again.

    def stop_ebbfs(self):
        problem = self.ebbfs.stop(STOP_SECONDS)
        if problem:
            raise Failed(f"ebbfs did not end cleanly: {problem}; its log ends so:\n{tail(self.ebbfs.log)}")

    def await_scan(self):
        deadline = time.monotonic() + SCAN_SECONDS
        while (self.ebbfs.status() or {}).get("scan") != "done":
            if time.monotonic() > deadline:
                raise Failed("the comparison of directory and journal does not end")
            self.show("comparing the directory with the journal")
            time.sleep(0.5)

    def again(self, lose_journal):
        """Nothing may be uploaded twice: over the same directory and bucket, the server sees no PUT."""
        kind = "deleted" if lose_journal else "kept"
        self.say(f"starting again over the same directory and bucket, the journal {kind}")
        if lose_journal:
            shutil.rmtree(self.ebbfs.state)
            os.mkdir(self.ebbfs.state)
        keys = self.bucket.keys()
        self.view = View(self.settings.columns)
        self.restarted = True
        before = self.swift.requests()
        self.start_ebbfs()
        self.await_scan()
        self.drain()
        self.show("done")
        status = self.ebbfs.status() or {}
        self.stop_ebbfs()
        after = self.swift.requests()
        counts = {method: after[method] - before.get(method, 0) for method in sorted(after)}
        self.say(f"requests in this second run, the journal {kind}, by the server's log: PUT {counts.get('PUT', 0)}; "
                 "all: " + (", ".join(f"{method} {count}" for method, count in counts.items() if count) or "none"))
        self.check_again(counts, keys, status)

    def check_again(self, counts, keys, status):
        if any(counts.get(method) for method in ("PUT", "POST", "DELETE")):
            raise Failed("the second run changed the bucket")
        keyed, too_long = self.keyed()
        missing = keyed.keys() - keys
        if missing:
            raise Failed(f"{len(missing)} files are not in the bucket: {sorted(missing)[:EXAMPLES]}")
        # A file with two names is one file there, so the numbers need not be ours; but none may be left over.
        files = status["files"]
        if files["known"] == 0 or files["proven"] + len(too_long) != files["known"]:
            raise Failed(f"after the second run, ebbfs holds {files['proven']} of {files['known']} files for proven")

    def first_run(self):
        self.write_existing()
        self.start_ebbfs()
        self.start_writer()
        self.watch_writer()
        if self.settings.proves:
            self.expect()
            self.drain()
            self.show("done")
            self.compare()
        self.stop_ebbfs()

    def run(self):
        self.prepare()
        if self.settings.first:
            self.first_run()
        else:
            self.expect()
        for lose_journal, wanted in ((False, self.settings.again), (True, self.settings.lose_journal)):
            if wanted:
                self.again(lose_journal)

    def end(self):
        """After whatever happened. Returns what was not clean."""
        problems = []
        # A negative status is a signal, which tar, for one, dies of when it is interrupted.
        status = self.writer.stop() if self.writer else 0
        if status is None or status > 0:
            problems.append(f"an error reached the writer (exit status {status}):\n{tail(self.writer.log)}")
        problem = self.ebbfs.stop(STOP_SECONDS)
        if problem:
            problems.append(f"ebbfs did not end cleanly: {problem}; its log ends so:\n{tail(self.ebbfs.log)}")
        self.swift.stop()
        left = end_descendants()
        if left:
            problems.append(f"{left} processes were left behind")
        self.ebbfs.unmount()
        shutil.rmtree(self.ebbfs.run, ignore_errors=True)
        return problems


def parse_arguments():
    parser = argparse.ArgumentParser(prog="container/demo")
    parser.add_argument("--directory", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--ebbfs")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--existing", type=int, required=True)
    parser.add_argument("--tree", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--lose-journal", action="store_true")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--columns", type=int, default=0)
    parser.add_argument("writer", nargs="*", help="options of file-writer, after --")
    settings = parser.parse_args()
    settings.proves = bool(settings.seconds or settings.tree or settings.again or settings.lose_journal)
    return settings


def interrupt(_number, _frame):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted


def run(demo):
    """0 or 1, with the reason said."""
    try:
        demo.run()
    except Interrupted:
        demo.say("ending")
        return 1 if demo.settings.proves else 0
    except Failed as failure:
        demo.say(f"FAILED: {failure}")
        return 1
    return 0


def main():
    settings = parse_arguments()
    adopt_orphans()
    demo = Demo(settings)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    status = 1
    try:
        status = run(demo)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for problem in demo.end():
            demo.say(f"FAILED: {problem}")
            status = 1
    if status == 0 and settings.proves:
        demo.say("PROVEN: every closed file is in S3, no error reached the writer, everything ended cleanly")
    return status


if __name__ == "__main__":
    sys.exit(main())
