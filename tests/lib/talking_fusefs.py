"""fake_fusefs that tells its supervisor that it serves and lives, as the real one does by uploader/base/notify.h.

install() puts it into a directory of EBBFS_BIN as a new file, as an upgrade does. Each says its name when it starts;
`first` is what it does before anything else.
"""

import os

LIB = os.path.dirname(os.path.abspath(__file__))
SCRIPT = """#!/usr/bin/env python3
import os, socket, sys, threading, time
print("fusefs here: {name}", file=sys.stderr, flush=True)
{first}
sys.path.insert(0, {lib!r})
import fake_fusefs
speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(message):
    try:
        speaker.sendto(message, os.environ["NOTIFY_SOCKET"])
    except OSError:
        pass  # its supervisor was killed
def talk():
    say(b"READY=1")
    while True:
        time.sleep(0.5)
        say(b"WATCHDOG=1")
listen = fake_fusefs.listen
def listen_and_talk(*arguments):
    server = listen(*arguments)
    threading.Thread(target=talk, daemon=True).start()
    return server
fake_fusefs.listen = listen_and_talk
fake_fusefs.main()
"""


def install(directory, name, first=""):
    path = os.path.join(directory, "ebbfs-fusefs")
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(SCRIPT.format(name=name, first=first, lib=LIB))
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)
