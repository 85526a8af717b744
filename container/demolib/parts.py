"""The processes of the demo: Swift, ebbfs, the writer. Whatever is started here is ended here, by its number."""
import ctypes
import json
import os
import signal
import subprocess
import tempfile
import time
from urllib.parse import unquote

CONTAINER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    """What goes wrong, in one line for people."""


def adopt_orphans():
    """Makes what our children leave behind our own children, so that the end finds it."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise Failed("prctl(PR_SET_CHILD_SUBREAPER): " + os.strerror(ctypes.get_errno()))


def descendants(pid):
    """Process numbers below pid, zombies apart."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    state, parent = stat.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def reap():
    """Takes the exit status of orphans that came to us; those that Popen knows are waited for by it."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_descendants():
    """Kills what is left. Returns how many that were."""
    left = descendants(os.getpid())
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + 10
    while descendants(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    reap()
    return len(left)


def is_mounted(path):
    """Whether something is mounted right there; asks the kernel's table, not the mount, which may hang."""
    escaped = path.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    with open("/proc/self/mountinfo") as table:
        return any(line.split(" ")[4] == escaped for line in table)


def tail(path, lines=15):
    try:
        with open(path, errors="replace") as log:
            return "".join("    " + line for line in log.readlines()[-lines:])
    except OSError:
        return ""


class Swift:
    def __init__(self, directory, port):
        self.directory = directory
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.log = os.path.join(directory, "log", "proxy.log")

    def command(self, *arguments):
        result = subprocess.run([os.path.join(CONTAINER, "swift"), *arguments], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Failed(result.stderr.strip() or f"container/swift {arguments[0]} failed")
        return result.stdout

    def start(self):
        self.command("start", self.directory, str(self.port))

    def stop(self):
        self.command("stop", self.directory)

    def requests(self):
        """Requests that it answered so far, by method."""
        return json.loads(self.command("requests", self.directory))

    def latest_keys(self, count):
        """The last objects that arrived, from the end of its access log."""
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
                lines = log.read().decode(errors="replace").split("\n")[1:]
        except OSError:
            return []
        words = [line.split(" ") for line in lines]
        # The path is quoted twice there: by the client, and by the log.
        puts = [unquote(unquote(word[5])).lstrip("/") for word in words
                if word[1:5] == ["access", "PUT", "200", "-"] and len(word) > 5]
        return puts[-count:]


class Ebbfs:
    """`ebbfs run` and what can be asked of it. The environment is all the configuration."""

    def __init__(self, program, directory, environment):
        self.program = program
        self.data = os.path.join(directory, "data")
        self.state = os.path.join(directory, "state")
        self.log = os.path.join(directory, "log", "ebbfs.log")
        self.run = tempfile.mkdtemp(prefix="ebbfs-demo.", dir="/run")
        os.chmod(self.run, 0o755)
        self.environment = {**os.environ, **environment, "EBBFS_DATA": self.data, "EBBFS_STATE": self.state,
                            "EBBFS_RUN": self.run}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.program, "run"], env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)

    def ask(self, *arguments):
        """The process of a command; its output can be read."""
        return subprocess.Popen([self.program, *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def status(self):
        """What `ebbfs status --json` prints, or None while nobody answers."""
        command = self.ask("status", "--json")
        try:
            output, _ = command.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            command.kill()
            command.communicate()
            return None
        try:
            return json.loads(output) if command.returncode == 0 else None
        except ValueError:
            return None

    def check_alive(self):
        status = self.process.poll()
        if status is not None:
            self.process = None
            raise Failed(f"ebbfs run ended with status {status}; its log ends so:\n{tail(self.log)}")

    def await_mount(self, seconds):
        deadline = time.monotonic() + seconds
        while not (is_mounted(self.data) and (self.status() or {}).get("state") == "serving"):
            self.check_alive()
            if time.monotonic() > deadline:
                raise Failed(f"ebbfs does not serve after {seconds} s; its log ends so:\n{tail(self.log)}")
            time.sleep(0.1)

    def stop(self, seconds):
        """Returns what was not clean about the end, or None."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is not None:
            return f"it had ended before, with status {process.returncode}"
        process.terminate()
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"it had not ended {seconds} s after SIGTERM"
        if status != 0:
            return f"its exit status is {status}"
        return "the mount is still there" if is_mounted(self.data) else None

    def unmount(self):
        """Last resort, for a mount that nobody serves any more."""
        while is_mounted(self.data):
            if subprocess.run(["umount", "-l", self.data], stdin=subprocess.DEVNULL, check=False).returncode != 0:
                raise Failed(f"{self.data} cannot be unmounted")


class Writer:
    """Whoever writes through the mount: file-writer, or tar. Its messages go to a log."""

    def __init__(self, arguments, log):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def ended(self):
        return self.process.poll() is not None

    def stop(self, seconds=60):
        """Returns its exit status: 0 means that no error reached it. None: it did not end."""
        if not self.ended():
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
