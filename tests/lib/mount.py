"""A running ebbfs with directories of its own: `ebbfs run` over a data directory, towards one bucket."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from lib import process
from lib.s3 import ACCESS_KEY, REGION, SECRET_KEY
from lib.wait import FACTOR, wait_for

BUILD = os.environ.get("EBBFS_BUILD", os.path.join(os.getcwd(), "build"))
PROGRAM_DIRS = [os.path.join(BUILD, part) for part in ("fusefs/cli", "fusefs/anchor", "fusefs/policy", "uploader/worker")]
PROGRAMS = ("ebbfs", "ebbfs-anchor", "ebbfs-fusefs", "ebbfs-uploader")
EBBFS = os.path.join(PROGRAM_DIRS[0], "ebbfs")
PREFIX = "pre/fix"
COMPLAINTS = re.compile(r"(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed).*")


class Box:
    """Directories, environment and processes of one ebbfs. Nothing runs before start()."""

    def __init__(self, server, bucket, **environment):
        self.server, self.bucket = server, bucket
        self.base = tempfile.mkdtemp(prefix="ebbfs-case-", dir="/var/tmp")
        os.chmod(self.base, 0o755)
        self.data, self.state, self.run = (os.path.join(self.base, name) for name in ("data", "state", "run"))
        for path in (self.data, self.state, self.run):
            os.mkdir(path, 0o755)
        self.log_path = os.path.join(self.base, "log")
        self.process = None
        self.launch_as = []  # a command before `ebbfs run`
        self.problems = []
        # Looks below the mount, at the plain directory.
        self.backing_fd = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": self.base, "TZ": "UTC", "EBBFS_BIN": ":".join(PROGRAM_DIRS),
            **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")},
            "EBBFS_TARGET": f"s3://{bucket.name}/{PREFIX}", "EBBFS_DATA": self.data, "EBBFS_STATE": self.state,
            "EBBFS_RUN": self.run, "EBBFS_SETTLE": "100ms", "EBBFS_DRAIN": "5s", "EBBFS_LOG": "debug",
            "EBBFS_PASSTHROUGH": os.environ.get("EBBFS_PASSTHROUGH", "yes"),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": server.endpoint, "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.set(**environment)

    def set(self, **environment):
        """Changes the environment of what is started next; None removes a name."""
        for name, value in environment.items():
            if value is None:
                self.environment.pop(name, None)
            else:
                self.environment[name] = value

    # ---- programs

    def copy_programs(self):
        """Programs of its own, beside its directories, so that they can be replaced."""
        folder = os.path.join(self.base, "bin")
        os.mkdir(folder)
        for directory in PROGRAM_DIRS:
            for name in PROGRAMS:
                if os.path.exists(os.path.join(directory, name)):
                    shutil.copy(os.path.join(directory, name), folder)
        self.set(EBBFS_BIN=folder)

    def replace_program(self, name, source=None, script=None):
        """By another executable or by a shell script, with a rename, as a package manager does it."""
        path = os.path.join(self.environment["EBBFS_BIN"], name)
        if source:
            shutil.copy(source, path + ".new")
        else:
            with open(path + ".new", "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n[ \"$1\" != --check-settings ] || exit 0\n{script}\n")
            os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)

    # ---- running

    def launch(self, *arguments):
        """`ebbfs run`, without waiting for it."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.launch_as, EBBFS, "run", *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd="/", start_new_session=True)

    def start(self):
        self.launch()

        def serving():
            assert self.process.poll() is None, f"ebbfs run ended with {self.process.returncode}"
            return self.is_mounted() and self.try_status().get("state") == "serving"
        wait_for(serving, 20, "the mount to serve")
        return self

    def stop(self, seconds=20):
        """SIGTERM to `ebbfs run`; its exit status. Everything must be gone by then."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds * FACTOR)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"ebbfs run did not end within {seconds * FACTOR:g} s of SIGTERM") from None
        self.process = None
        assert not self.is_mounted(), "still mounted after ebbfs run ended"
        assert not self.pids(), f"processes left: {[process.name(pid) for pid in self.pids()]}"
        return code

    def restart(self):
        self.stop()
        return self.start()

    def pids(self, name=None):
        return [pid for pid in process.with_environment(f"EBBFS_STATE={self.state}")
                if pid != os.getpid() and name in (None, process.name(pid))]

    def pid(self, name):
        return wait_for(lambda: self.pids(name), 10, f"a process {name}")[0]

    def kill(self, name, number=signal.SIGKILL):
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def is_mounted(self):
        return any(path == self.data and kind.startswith("fuse") for path, kind in process.mounts_below(self.data))

    def command(self, *arguments, timeout=60, **options):
        return subprocess.run([EBBFS, *arguments], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=timeout * FACTOR, check=False, cwd="/", **options)

    def try_status(self):
        answer = self.command("status", "--json")
        return json.loads(answer.stdout) if answer.returncode == 0 else {}

    def status(self):
        answer = self.command("status", "--json")
        assert answer.returncode == 0, answer
        return json.loads(answer.stdout)

    def ls(self, path=""):
        """{name: entry} of `ebbfs ls --json`; names as the mount has them."""
        answer = self.command("ls", "--json", *([path] if path else []))
        assert answer.returncode == 0, answer
        return {entry["name"]: entry for entry in json.loads(answer.stdout)["entries"]}

    def drain(self, timeout="30s"):
        return self.command("drain", "--timeout", timeout, timeout=120).returncode

    def settle_down(self, seconds=30):
        """Waits until the scan is through and nothing waits for upload."""
        wait_for(lambda: self.status()["scan"] == "done", seconds, "the end of the scan")
        code = self.drain(f"{int(seconds * FACTOR)}s")
        assert code == 0, f"ebbfs drain: exit {code}; status {self.status()}"

    # ---- files

    def path(self, *parts):
        """Below the mount; bytes if the last part is."""
        if any(isinstance(part, bytes) for part in parts):
            return os.path.join(os.fsencode(self.data), *(os.fsencode(part) for part in parts))
        return os.path.join(self.data, *parts)

    def backing(self, *parts):
        """The same in the plain directory, below the mount."""
        return os.path.join(f"/proc/self/fd/{self.backing_fd}", *parts)

    def write(self, name, content=b"content\n", mode="wb"):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode) as file:
            file.write(content)
        return content

    def key(self, name):
        return f"{PREFIX}/{name}"

    def tree(self):
        """key → SHA-256 of each regular file with a plain name."""
        found = {}
        for folder, _, names in os.walk(self.data):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    found[self.key(os.path.relpath(path, self.data))] = sha256_of_file(path)
        return found

    def bucket_tree(self):
        return {key: hashlib.sha256(self.bucket.read(key)).hexdigest() for key in self.bucket.keys()}

    def assert_all_arrived(self):
        """Every regular file is in the bucket, read by boto3, and nothing else is."""
        tree, objects = self.tree(), self.bucket_tree()
        missing = sorted(set(tree) - set(objects))
        assert not missing, f"{len(missing)} of {len(tree)} files are not in the bucket: {missing[:5]}"
        surplus = sorted(set(objects) - set(tree))
        assert not surplus, f"objects without a file: {surplus[:5]}"
        differ = sorted(key for key in tree if tree[key] != objects[key])
        assert not differ, f"content differs: {differ[:5]}"

    def puts(self, key=None, **conditions):
        return self.bucket.count("PutObject", key=None if key is None else self.key(key), **conditions)

    def copies(self, key=None, **conditions):
        return self.bucket.count("CopyObject", key=None if key is None else self.key(key), **conditions)

    # ---- the end

    def log(self):
        return process.read(self.log_path).decode(errors="replace")

    def close(self, keep_logs=None):
        """Ends everything, by force if need be, and says what had to be forced: an empty list when nothing had."""
        problems = []
        if self.process is not None:
            ended = self.process.poll()
            if ended is not None:
                problems.append(f"ebbfs run had ended by itself with {ended}")
            else:
                try:
                    self.stop()
                except AssertionError as error:
                    problems.append(str(error))
        for pid in self.pids():
            problems.append(f"process left: {process.name(pid)}")
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        os.close(self.backing_fd)
        for path, _ in process.mounts_below(self.base):
            problems.append(f"mount left: {path}")
            subprocess.run(["umount", "-l", path], check=False)
        problems += [match.group(0) for match in COMPLAINTS.finditer(self.log())]
        if keep_logs and os.path.exists(self.log_path):
            shutil.copy(self.log_path, keep_logs)
        subprocess.run(["rm", "-rf", "--one-file-system", self.base], check=False)  # quicker than shutil for 100,000 files
        return problems


class Writer:
    """Writes small files through the mount from a thread, as the vendor program does, and keeps the first error."""

    def __init__(self, box, interval=0.01, size=1024, folder="written"):
        self.box, self.interval, self.size, self.folder = box, interval, size, folder
        self.count, self.error, self.longest = 0, None, 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.ended.wait(self.interval):
            started = time.monotonic()
            try:
                self.box.write(f"{self.folder}/{self.count:06d}", os.urandom(self.size))
            except OSError as error:
                self.error = error
                return
            self.longest = max(self.longest, time.monotonic() - started)
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        self.thread.join()
        if kind is None:
            assert self.error is None, f"the writer got an error after {self.count} files: {self.error!r}"
            assert self.count > 0

    def wait_for_files(self, number, seconds=30):
        wait_for(lambda: self.count >= number or self.error, seconds, f"{number} files written")


def sha256_of_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
