"""What becomes of modes: creation under umasks and in set-group-id directories, set-id bits under every change."""


def creation():
    for umask in "0", "022", "077", "0777":
        for parent in "0755", "02775", "01777":
            print(f"== create-umask-{umask}-in-{parent} root")
            for line in ("!mkdir d", "!chown d 20001 20005", f"!chmod d {parent}", "!chmod . 0777", "!as user",
                         f"umask {umask}"):
                print(line)
            for mode in "0644", "0777", "02777", "06755", "01777", "0":
                print(f"open a d/f{mode} WRONLY|CREAT|EXCL {mode}")
                print("write a x")
                print(f"mkdir d/d{mode} {mode}")
                print(f"mknod d/p{mode} p {mode}")
                print(f"mknod d/n{mode} f {mode}")
                for kind in "fdpn":
                    print(f"lstat d/{kind}{mode}")
            print("open t d RDWR|TMPFILE 0666")
            print("fstat t")
            print("symlink x d/l")
            print("lstat d/l")


CHANGES = {
    "write": ["open a f WRONLY", "write a x", "close a"],
    "write-nothing": ["open a f WRONLY", "pwrite a '' 0", "close a"],
    "append": ["open a f WRONLY|APPEND", "write a x", "close a"],
    "pwrite-far": ["open a f WRONLY", "pwrite a x 100000", "close a"],
    "writev": ["open a f WRONLY", "pwritev2 a xyz 0", "close a"],
    "splice": ["open a f WRONLY", "splice_to a xyz", "close a"],
    "sendfile": ["open b src RDONLY", "open a f WRONLY", "sendfile b a 0 3", "close a"],
    "copyrange": ["open b src RDONLY", "open a f WRONLY", "copyrange b 0 a 0 3", "close a"],
    "fallocate": ["open a f WRONLY", "fallocate a KEEP 0 8192", "fallocate a 0 0 8192", "close a"],
    "punch": ["open a f WRONLY", "fallocate a PUNCH|KEEP 0 1", "close a"],
    "mmap": ["open a f RDWR", "mmap m a 5 R|W SHARED", "mstore m 0 x", "msync m SYNC", "munmap m", "close a"],
    "truncate": ["truncate f 2"],
    "truncate-same": ["truncate f 5"],
    "ftruncate": ["open a f WRONLY", "ftruncate a 2", "close a"],
    "o-trunc": ["open a f WRONLY|TRUNC", "close a"],
    "chown": ["chown f 20001 20001"],
    "chown-group": ["chown f -1 20005"],
    "chown-nothing": ["chown f -1 -1"],
    "chmod": ["chmod f 06711"],
    "chmod-sgid": ["chmod f 02755"],
    "utimens": ["utimens f NOW NOW"],
    "link": ["link f g"],
    "rename": ["rename f g", "rename g f"],
    "setx": ["setx f user.a b"],
    "setacl": ["setacl f access u::rwx,u:20002:rwx,g::r-x,m::rwx,o::r-x"],
}


def changes():
    for mode in "06755", "04755", "02755", "02745", "06777", "02644":
        for title, lines in CHANGES.items():
            for who in "root", "user", "mate":
                print(f"== {title}-on-{mode}-by-{who} root")
                for line in ("!umask 0", "!put f hello", "!put src source", "!chown f 20001 20005", f"!chmod f {mode}",
                             "!chmod . 0777", f"!as {who}"):
                    print(line)
                print("mark m f")
                print("\n".join(lines))
                print("lstat f")
                print("cmp m f")


def capabilities():
    for title, lines in CHANGES.items():
        print(f"== capability-after-{title} root")
        for line in ("!put f hello 0777", "!put src source", "!setcap f", "getx f security.capability"):
            print(line)
        print("\n".join(lines))
        print("getx f security.capability")
        print("listx f")


creation()
changes()
capabilities()
