"""Who may do what: operations by a stranger, a group mate and the owner on files and directories of several modes.
root makes everything; the sequence's directory is root's."""

FILE_OPERATIONS = ["open a d/f RDONLY", "open a d/f WRONLY", "open a d/f RDWR|TRUNC", "truncate d/f 2", "chmod d/f 0600",
                   "chown d/f 20001 20005", "chown d/f -1 20005", "chown d/f 20002 -1", "utimens d/f 1000 2000",
                   "utimens d/f NOW NOW", "utimens d/f OMIT NOW", "touch d/f", "access d/f r", "access d/f w",
                   "access d/f x", "access d/f rw EACCESS", "setx d/f user.a b", "getx d/f user.old", "listx d/f",
                   "rmx d/f user.old", "link d/f d/g", "open a d/f RDONLY|NOATIME", "exec d/f", "setx d/f trusted.a b",
                   "getx d/f trusted.old", "setacl d/f access u::rwx,g::r--,o::r--", "setcap d/f"]
DIR_OPERATIONS = ["open a d/new WRONLY|CREAT", "mkdir d/new", "symlink x d/new", "mknod d/new p", "unlink d/f",
                  "rename d/f d/g", "rename d/f other/f", "rename mine d/f", "ls d", "lstat d/f", "chdir d", "rmdir d/sub",
                  "rmdir d", "rename d e", "open a d TMPFILE|RDWR", "rename d/f mine EXCHANGE", "link mine d/new"]
FILE_MODES = ["0644", "0600", "0640", "0666", "0444", "0777", "0000", "04755", "02775"]
DIR_MODES = ["0755", "0777", "01777", "0700", "0770", "02775", "0711", "0733"]
WHO = ["user", "mate", "other"]


def emit(title, file_mode, dir_mode, who, operations):
    print(f"== {title} root")
    for line in ("!umask 0", "!mkdir other 0777", f"!mkdir d {dir_mode}", "!put d/f hello", "!mkdir d/sub",
                 "!setx d/f user.old value", "!chown d/f 20001 20005", "!chown d 20001 20005", "!chmod . 0777",
                 f"!chmod d {dir_mode}", f"!chmod d/f {file_mode}", f"!as {who}", "!put mine m"):
        # Not every filesystem has user.*: what it says is compared all the same.
        print(line.lstrip("!") if "setx" in line else line)
    for operation in operations:
        print(operation)
        if operation.startswith("exec"):
            continue
        for line in "!as root", "lstat d/f", "lstat d/new", f"!as {who}":
            print(line)
    for line in "!as root", "ls d", "ls other", "ls .", "cat d/f":
        print(line)


for mode in FILE_MODES:
    for someone in WHO:
        emit(f"file-{mode}-by-{someone}", mode, "0755", someone, FILE_OPERATIONS)
for mode in DIR_MODES:
    for someone in WHO:
        for step, one in enumerate(DIR_OPERATIONS):
            emit(f"dir-{mode}-by-{someone}/{step}-{one.split()[0]}", "0644", mode, someone, [one])
