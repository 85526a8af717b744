"""Looking at processes and mounts in /proc."""

import os


def read(path):
    """Bytes of a /proc file; empty if it is gone."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_alive(pid):
    """False for zombies as well."""
    status = read(f"/proc/{pid}/stat")
    return bool(status) and status.rpartition(b")")[2].split()[0] != b"Z"


def name(pid):
    return os.path.basename(read(f"/proc/{pid}/cmdline").split(b"\0")[0].decode(errors="replace"))


def parent(pid):
    return int((read(f"/proc/{pid}/stat").rpartition(b")")[2].split() or [0, 0])[1])


def status(pid):
    """The fields of /proc/PID/status."""
    lines = read(f"/proc/{pid}/status").decode(errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def with_environment(entry):
    """Living processes whose environment holds NAME=VALUE."""
    wanted = entry.encode()
    return [pid for pid in pids() if wanted in read(f"/proc/{pid}/environ").split(b"\0") and is_alive(pid)]


def links(pid):
    """Where its descriptors lead, as text."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return found


def memory_kib(pid):
    """Pss_Anon + Pss_Shmem: what the process costs beside files that the kernel can drop."""
    total = 0
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
            total += int(line.split()[1])
    return total


def mounts_below(directory):
    """Mount points at or below a directory, newest first, with their types: [(path, type)]."""
    found = []
    for line in read("/proc/self/mountinfo").decode(errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        path = fields.split()[4].encode().decode("unicode_escape")
        if path == directory or path.startswith(directory + "/"):
            found.append((path, rest.split()[0]))
    return found[::-1]
