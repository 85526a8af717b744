"""Whether the checking writers notice: each kind works in a plain directory, somebody else changes what is there, and
the writer has to say so."""

import os
import random
import time

import board

NOTICED_S = 20


def files(directory):
    return [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]


def flip_a_byte(directory, rng):
    path = rng.choice([path for path in files(directory) if os.path.isfile(path) and os.path.getsize(path) > 64])
    with open(path, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))


def remove_a_name(directory, rng):
    os.unlink(rng.choice(files(directory)))


def make_a_name(directory, rng):
    """One that the writer may use itself, and did not make."""
    with open(os.path.join(directory, rng.choice("abc"), f"n{rng.randrange(12):02}"), "xb"):
        pass


def change_a_mode(directory, rng):
    os.chmod(rng.choice([path for path in files(directory) if os.path.isfile(path) and not os.path.islink(path)]), 0o111)


def change_an_xattr(directory, rng):
    path = rng.choice([path for path in files(directory) if os.path.isfile(path) and not os.path.islink(path)])
    os.setxattr(path, "user.one", b"sabotage")


def cut_a_file(directory, rng):
    path = rng.choice([path for path in files(directory) if os.path.isfile(path) and os.path.getsize(path) > 64])
    os.truncate(path, os.path.getsize(path) - 1)


def repeat_a_record(directory, rng):
    path = max(files(directory), key=os.path.getmtime)
    with open(path, "r+b") as file:
        record = file.read(64)
        file.seek(0, os.SEEK_END)
        file.write(record)


def turn_back_a_counter(directory, rng):
    with open(os.path.join(directory, rng.choice(["flock", "process", "ofd"])), "r+b") as file:
        file.write(bytes(8))


def remove_what_stays(directory, rng):
    os.unlink(os.path.join(directory, "d", f"s{rng.randrange(600)}"))


SABOTAGES = [
    ("names", flip_a_byte), ("names", remove_a_name), ("names", make_a_name), ("names", change_a_mode),
    ("names", change_an_xattr), ("names", cut_a_file), ("io", flip_a_byte), ("io", cut_a_file), ("append", flip_a_byte),
    ("append", cut_a_file), ("append", repeat_a_record), ("lock", turn_back_a_counter), ("listing", remove_what_stays),
    ("small", flip_a_byte), ("small", remove_a_name),
]


def again_and_again(sabotage, directory, rng, writers):
    """What one did may be overwritten before anybody looks, and a file may go while it is looked for."""
    deadline = time.monotonic() + NOTICED_S
    while time.monotonic() < deadline:
        try:
            sabotage(directory, rng)
        except (OSError, IndexError, ValueError):
            pass
        time.sleep(0.02)
        if writers.board.failed:
            return
    raise AssertionError(f"nobody noticed within {NOTICED_S} s")


def notice(program, base, work, kind, sabotage):
    rng = random.Random(1)
    name = f"{kind}-{sabotage.__name__}"
    directory = os.path.join(base, name)
    os.mkdir(directory)
    with board.Writers(program, directory, work, hash_of(name), only=[kind]) as writers:
        # Of several writers of that kind, the first one's files are changed.
        time.sleep(0.3)
        again_and_again(sabotage, os.path.join(directory, f"{kind}0"), rng, writers)
        assert "WRONG writer=" in writers.said(), "noticed, but not said"


def hash_of(name):
    return sum(name.encode())
