"""Backing filesystems, and the ways of mounting something over a directory of one."""

import os
import signal
import subprocess
import time

ORDINARY = 65534  # nobody: fusermount3 wants a user with a name
WAYS = ["passthrough", "plain", "debug", "none", "bindfs", "passthrough_ll"]
BACKINGS = ["here", "tmpfs", "ext4", "xfs", "btrfs", "overlay"]
IMAGE_BYTES = 1 << 30
READY_S = 20
STOP_S = 20


class CannotMount(Exception):
    pass


def command(*words):
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise CannotMount(f"{' '.join(words)}: {done.stderr.strip()}")


def as_user(user):
    return ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={user},20005", "--"]


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return any(line.split()[4] == path for line in mounts)


def make_backing(name, work):
    """A fresh filesystem of that kind; its root."""
    base = os.path.join(work, name)
    os.mkdir(base, 0o755)
    if name == "tmpfs":
        command("mount", "-t", "tmpfs", "-o", "size=1G,mode=755", "tmpfs", base)
    elif name == "overlay":
        parts = [f"{base}.{part}" for part in ("lower", "upper", "work")]
        for part in parts:
            os.mkdir(part, 0o755)
        command("mount", "-t", "overlay", "-o", "lowerdir={},upperdir={},workdir={}".format(*parts), "overlay", base)
    elif name != "here":
        image = base + ".img"
        with open(image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        command(f"mkfs.{name}", "-q", *(["-F"] if name == "ext4" else []), image)
        # The loop device goes with the mount (autoclear), and the mount with the namespace.
        command("mount", "-o", "loop", image, base)
        os.chmod(base, 0o755)
    return base


def drop_backing(name, base):
    if name == "here":
        subprocess.run(["rm", "-rf", base], check=False)
        return
    subprocess.run(["umount", "-l", base], check=False)
    if os.path.exists(base + ".img"):
        os.unlink(base + ".img")


class Mount:
    """Something that serves a directory; `words` is what runs it in the foreground."""

    def __init__(self, data, log, words, environment=None, ready=None):
        self.data = data
        self.log = log + ".log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            env=dict(os.environ, **(environment or {})))
        try:
            self.wait(ready or (lambda: is_mounted(data)))
        except CannotMount:
            self.stop()
            raise

    def wait(self, ready):
        deadline = time.monotonic() + READY_S
        while not ready():
            if self.process.poll() is not None:
                raise CannotMount(f"it ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise CannotMount(f"not ready after {READY_S} s: {self.tail()}")
            time.sleep(0.05)

    def tail(self):
        with open(self.log, "rb") as log:
            return " | ".join(log.read()[-600:].decode("utf-8", "backslashreplace").splitlines()[-5:])

    def problem(self):
        """A crash that was mended at once would not show in any sequence."""
        if self.process.poll() is not None:
            return f"what serves the mount ended with {self.process.returncode}: {self.tail()}"
        with open(self.log, encoding="utf-8", errors="replace") as log:
            ended = [line.strip() for line in log if " ended pid=" in line]
        if ended:
            return f"a process behind the mount died and was replaced: {ended[0]}"
        return None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        while is_mounted(self.data):
            subprocess.run(["umount", "-l", self.data], check=False)


class Nothing:
    """No mount at all: the suite compared with itself."""

    def problem(self):
        return None

    def stop(self):
        pass


def ebbfs_environment(data, log, build, passthrough):
    """No S3 server is there: uploads fail in the background, which must not matter to anyone."""
    bins = [os.path.join(build, part) for part in ("fusefs/cli", "fusefs/anchor", "fusefs/policy", "uploader/worker")]
    return {
        "EBBFS_BIN": ":".join(bins),
        "EBBFS_TARGET": "s3://none/x",
        "EBBFS_DATA": data,
        "EBBFS_STATE": log + ".state",
        "EBBFS_RUN": log + ".run",
        "EBBFS_DRAIN": "1s",
        "EBBFS_PASSTHROUGH": "yes" if passthrough else "no",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "us-east-1",
    }


def serving(program, environment):
    done = subprocess.run([program, "status", "--json"], env=dict(os.environ, **environment), encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0 and '"serving"' in done.stdout


def mount_ebbfs(data, log, build, passthrough):
    environment = ebbfs_environment(data, log, build, passthrough)
    program = os.path.join(build, "fusefs/cli/ebbfs")
    if not os.access(program, os.X_OK):
        raise CannotMount(f"no {program}")
    for part in "EBBFS_STATE", "EBBFS_RUN":
        os.makedirs(environment[part], exist_ok=True)
    return Mount(data, log, [program, "run"], environment, lambda: serving(program, environment))


def mount_debug(data, log, build):
    program = os.path.join(build, "fusefs/cli/ebbfs")
    environment = {"EBBFS_BIN": ebbfs_environment(data, log, build, False)["EBBFS_BIN"]}
    return Mount(data, log, as_user(ORDINARY) + [program, "debug", data], environment)


def mount_passthrough_ll(data, log, build):
    """libfuse's example, compiled here. It cannot mount over its own source: a bind mount shows that elsewhere."""
    program, source = log + ".passthrough_ll", log + ".source"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], stdout=subprocess.PIPE, encoding="utf-8",
                           check=True).stdout.split()
    command("cc", "-w", "-O2", "-D_GNU_SOURCE", "-o", program,
            "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c", *flags)
    os.mkdir(source)
    command("mount", "--bind", data, source)
    return Mount(data, log, [program, "-f", "-o", f"source={source},cache=auto,xattr,flock,allow_other,"
                             "default_permissions", data])


def mount(way, data, log, build):
    """Mounts over the directory `data`. `log` is the beginning of names for logs and state."""
    if way in ("passthrough", "plain"):
        return mount_ebbfs(data, log, build, way == "passthrough")
    if way == "debug":
        return mount_debug(data, log, build)
    if way == "bindfs":
        return Mount(data, log, ["bindfs", "-f", data, data])
    if way == "passthrough_ll":
        return mount_passthrough_ll(data, log, build)
    return Nothing()
