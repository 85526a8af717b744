"""open(2): sets of flags × access mode × what the name stands for."""

SETS = ["0", "CREAT", "CREAT|EXCL", "TRUNC", "CREAT|TRUNC", "APPEND", "CREAT|APPEND", "DIRECTORY", "CREAT|DIRECTORY",
        "DIRECTORY|NOFOLLOW", "NOFOLLOW", "CREAT|NOFOLLOW", "CREAT|EXCL|NOFOLLOW", "TRUNC|NOFOLLOW", "PATH",
        "PATH|NOFOLLOW", "PATH|DIRECTORY", "DIRECT", "CREAT|DIRECT", "TMPFILE", "TMPFILE|EXCL", "SYNC", "CREAT|DSYNC",
        "NOATIME", "CREAT|TRUNC|APPEND"]

# What makes the target T; {n} is a number, so that each access mode has its own.
TARGETS = {
    "missing": [],
    "file": ["!put t{n} hello 0640"],
    "dir": ["!mkdir t{n}", "!put t{n}/inside x"],
    "link-to-file": ["!put real{n} hello", "!symlink real{n} t{n}"],
    "link-to-dir": ["!mkdir real{n}", "!symlink real{n} t{n}"],
    "link-to-nothing": ["!symlink nowhere{n} t{n}"],
    "link-loop": ["!symlink t{n} t{n}"],
    "fifo": ["!mknod t{n} p 0644"],
    "mode-0": ["!put t{n} hello 0644", "!chmod t{n} 0"],
    "read-only": ["!put t{n} hello 0444"],
    "beneath-file": ["!put t{n} hello"],
    "beneath-nothing": [],
    "closed-dir": ["!mkdir c{n}", "!put c{n}/t hello", "!chmod c{n} 0600"],
    "slash-behind": ["!put t{n} hello"],
}
NAMES = {"beneath-file": "t{n}/x", "beneath-nothing": "t{n}/x", "closed-dir": "c{n}/t", "slash-behind": "t{n}/"}


def emit(flags, target, lines):
    print(f"== {flags.replace('|', '+').lower()}/{target}")
    print("umask 0")
    for number, access in enumerate(("RDONLY", "WRONLY", "RDWR")):
        name = NAMES.get(target, "t{n}").format(n=number)
        some = f"{access}|{flags}" + ("|NONBLOCK" if target == "fifo" else "")
        some = some.replace("|0", "")
        for line in lines:
            print(line.format(n=number))
        print(f"open a {name} {some} 0666")
        for line in "getfl a", "fstat a", "write a WORLD", "fstat a", "lseek a 0 SET", "read a 100", "close a":
            print(line)
        print(f"lstat {name}")
    print("ls .")
    print("ls real0")


for flag_set in SETS:
    for kind, making in TARGETS.items():
        emit(flag_set, kind, making)
