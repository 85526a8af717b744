#!/usr/bin/env python3
"""database.py FILE MODE WORKER STOP: transactions on a SQLite database that others write too, checked against a model.

MODE: wal, delete or truncate. WORKER: a number from 0. Goes on until the file STOP is there. Every statement has to
succeed: SQLITE_BUSY is waited for by SQLite itself, up to a deadline. `accounts` belongs to all: transfers keep its
sum. `entries` holds rows of each worker, of which it knows the number and the sum. The last line of stdout is
{"transactions", "rows", "sum", "longest"}: what has to be there at the end.
"""

import json
import os
import random
import sqlite3
import sys
import time

ACCOUNTS, EACH, BUSY_S = 20, 1000, 60


def connect(path, mode):
    connection = sqlite3.connect(path, timeout=BUSY_S * float(os.environ.get("EBBFS_TEST_PATIENCE", "1")),
                                 isolation_level=None)
    found, = connection.execute(f"pragma journal_mode = {mode}").fetchone()
    assert found == mode, found
    return connection


def create(path, mode):
    connection = connect(path, mode)
    connection.execute("create table accounts (id integer primary key, balance integer)")
    connection.execute("create table entries (id integer primary key, worker integer, value integer, payload blob)")
    connection.execute("create index by_worker on entries (worker, value)")
    connection.executemany("insert into accounts values (?, ?)", [(number, EACH) for number in range(ACCOUNTS)])
    connection.close()


class Worker:
    def __init__(self, path, mode, number):
        self.path, self.mode, self.number = path, mode, number
        self.rows, self.next, self.transactions, self.longest = {}, 0, 0, 0.0
        self.chance = random.Random(number)
        self.connection = connect(path, mode)

    def transaction(self):
        """Either all of it counts, in the model as in the database, or nothing."""
        execute, chance, rows = self.connection.execute, self.chance, dict(self.rows)
        started = time.monotonic()
        execute("begin immediate")
        source, target = chance.sample(range(ACCOUNTS), 2)
        amount = chance.randrange(100)
        execute("update accounts set balance = balance - ? where id = ?", (amount, source))
        execute("update accounts set balance = balance + ? where id = ?", (amount, target))
        for _ in range(chance.randrange(1, 8)):
            value = self.next = self.next + 1
            rows[value] = execute("insert into entries (worker, value, payload) values (?, ?, ?)",
                                  (self.number, value, bytes([value % 256]) * chance.randrange(3000))).lastrowid
        if len(rows) > 200:
            for value in chance.sample(sorted(rows), 100):
                done = execute("delete from entries where id = ?", (rows.pop(value),))
                assert done.rowcount == 1
        if chance.random() < 0.2:
            execute("rollback")
        else:
            execute("commit")
            self.rows = rows
            self.transactions += 1
        self.longest = max(self.longest, time.monotonic() - started)

    def check(self):
        total, = self.connection.execute("select sum(balance) from accounts").fetchone()
        assert total == ACCOUNTS * EACH, f"accounts hold {total}"
        found = dict(self.connection.execute("select value, id from entries where worker = ?", (self.number,)))
        assert found == self.rows, f"missing {set(self.rows) - set(found)}, surplus {set(found) - set(self.rows)}"
        for value, payload in self.connection.execute(
                "select value, payload from entries where worker = ?", (self.number,)):
            assert payload.count(value % 256) == len(payload), f"value {value}: wrong bytes"

    def work(self, stop):
        while not os.path.exists(stop):
            self.transaction()
            # SQLite polls for locks: who never rests lets nobody else in.
            time.sleep(self.chance.random() * 0.02)
            if self.chance.random() < 0.1:
                self.check()
            if self.chance.random() < 0.03:
                self.connection.close()
                self.connection = connect(self.path, self.mode)
        self.check()
        self.connection.close()
        print(json.dumps({"transactions": self.transactions, "rows": len(self.rows), "sum": sum(self.rows),
                          "longest": self.longest}))


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2], int(sys.argv[3])).work(sys.argv[4])
