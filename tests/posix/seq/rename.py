"""renameat2(2): kinds of what is renamed × kinds of what is there × flags; and unlink, rmdir, link by kind."""

KINDS = {
    "missing": [],
    "file": ["!put {p} hello-{p}"],
    "empty-dir": ["!mkdir {p}"],
    "full-dir": ["!mkdir {p}", "!put {p}/inside in-{p}", "!mkdir {p}/sub"],
    "symlink": ["!symlink nowhere {p}"],
    "link-to-dir": ["!mkdir real-{p}", "!symlink real-{p} {p}"],
    "fifo": ["!mknod {p} p 0644"],
    "mode-0": ["!put {p} hello", "!chmod {p} 0"],
}


def make(kind, path):
    for line in KINDS[kind]:
        print(line.format(p=path))


def look(*paths):
    for path in paths:
        print(f"lstat {path}")
    print("ls .")


def renames():
    for flags in "", "NOREPLACE", "EXCHANGE":
        for source in KINDS:
            for target in KINDS:
                print(f"== {source}-over-{target}{'/' + flags.lower() if flags else ''}")
                make(source, "a")
                make(target, "b")
                print("mark m a")
                print("mark d .")
                print(f"rename a b {flags}".rstrip())
                print("cmp m b")
                print("cmp d .")
                look("a", "b", "b/inside", "a/inside", ".")
                print("cat b")


def special():
    cases = {
        "into-own-child": ["!mkdir a", "rename a a/b", "rename a a/b NOREPLACE", "rename a a/b EXCHANGE"],
        "onto-own-parent": ["!mkdir a", "!mkdir a/b", "rename a/b a", "rename a/b a EXCHANGE"],
        "onto-itself": ["!put a x", "rename a a", "rename a a NOREPLACE", "rename a a EXCHANGE"],
        "onto-own-hard-link": ["!put a x", "!link a b", "rename a b", "lstat a", "rename a b NOREPLACE",
                               "rename a b EXCHANGE"],
        "across-dirs": ["!mkdir d", "!mkdir e", "!put d/a x", "rename d/a e/b", "ls d", "ls e", "lstat d", "lstat e"],
        "dir-across-dirs": ["!mkdir d", "!mkdir e", "!mkdir d/a", "!put d/a/f x", "rename d/a e/b", "lstat d",
                            "lstat e", "ls e/b", "lstat e/b/..", "same e e/b/.."],
        "exchange-dir-file-across": ["!mkdir d", "!mkdir e", "!mkdir d/a", "!put e/b x", "rename d/a e/b EXCHANGE",
                                     "lstat d", "lstat e", "lstat d/a", "lstat e/b"],
        "dot": ["!mkdir d", "rename d/. x", "rename d x/.", "rename d/.. x", "rename . x", "rename x ."],
        "slash-behind": ["!mkdir d", "!put f x", "rename f/ g", "rename f g/", "rename d/ e", "rename e g/"],
        "long": ["!put a x", "rename a {n*255}", "lstat {n*255}", "rename {n*255} {n*256}", "rename {n*255} b"],
        "beneath-file": ["!put f x", "!put g x", "rename f/a b", "rename g f/b"],
        "no-parent": ["!put f x", "rename f none/f", "rename none/f f"],
        "flags-wrong": ["!put a x", "!put b y", "rename a b NOREPLACE|EXCHANGE", "rename a b 64", "ls ."],
        "open-file": ["!put a hello", "open f a RDWR", "rename a b", "fstat f", "write f HE", "cat b", "fdname f",
                      "link {fd:f} c FOLLOW", "lstat b"],
        "open-file-replaced": ["!put a old", "!put b new", "open f a RDWR", "rename b a", "fstat f", "read f 9",
                               "write f more", "fstat f", "cat a"],
        "cwd": ["!mkdir d", "!mkdir d/e", "chdir d/e", "rename ../../d ../../x", "getcwd", "rename . y"],
        "whiteout": ["!put a x", "rename a b WHITEOUT", "lstat a", "lstat b"],
        "many-times": ["!put a x", "!mark m a"] + [f"rename {'ab'[i % 2]} {'ba'[i % 2]}" for i in range(20)]
                      + ["cmp m a", "ls ."],
        "times-of-parents": ["!mkdir d", "!mkdir e", "!put d/a x", "mark d d", "mark e e", "rename d/a e/a", "cmp d d",
                             "cmp e e"],
        "case": ["!put a x", "rename a A", "ls .", "lstat a"],
    }
    for title, lines in cases.items():
        print(f"== {title}")
        print("\n".join(lines))
        print("ls .")


def removals():
    for kind in KINDS:
        for call in "unlink", "rmdir":
            for behind in "", "/", "/.", "/..":
                print(f"== {call}-{kind}{behind.replace('/', '-slash')}")
                make(kind, "a")
                print("mark d .")
                print(f"{call} a{behind}")
                print("cmp d .")
                print(f"{call} a{behind}")
                look("a", ".")


def links():
    for kind in KINDS:
        for flags in "", "FOLLOW":
            print(f"== link-{kind}{'-follow' if flags else ''}")
            make(kind, "a")
            print("mark m a")
            print(f"link a b {flags}".rstrip())
            print("cmp m a")
            print("same a b")
            print(f"link a b {flags}".rstrip())
            look("a", "b")
            for line in "unlink a", "lstat b", "readlink b", "cat b":
                print(line)


renames()
special()
removals()
links()
