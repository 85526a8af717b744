/* What the checking writers share: the board, random numbers, patterns, and calls whose result is known beforehand.
 *
 * A writer is one process of one kind (names, io, append, …) in a directory of its own, or one that it shares with a
 * peer. It makes random steps and knows what every call must return and what must be there afterwards; the first
 * thing that is otherwise is printed with seed, step and call, and ends all writers. Nothing here knows what kind of
 * directory it works in: on a plain one nothing may ever fail.
 *
 * One thread; the state of a kind is static, since a process is of one kind. */
#ifndef EBBFS_TESTS_CRASH_WRITER_H
#define EBBFS_TESTS_CRASH_WRITER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTS_MAX 64
#define CELLS_MAX 8

/* A writer's own place on the board. Only the writer writes it. */
struct slot {
	char name[24];
	uint64_t seed, steps, calls;
	uint64_t since_ns; /* CLOCK_MONOTONIC; 0: in no call */
	uint64_t longest_ns;
	char longest[56];  /* the call that took longest */
	uint64_t progress; /* for the peer */
	uint32_t pid, ended;
};

/* What locks protect: the truth beside the file that the locks are taken on. */
struct cell {
	uint32_t owner, unused;
	uint64_t value;
};

/* Mapped by all writers and by tests/crash/board.py, which knows this layout. */
struct board {
	uint32_t stop;   /* end: check everything once more and exit */
	uint32_t failed; /* somebody found something wrong */
	uint64_t unused;
	struct cell cells[CELLS_MAX];
	struct slot slots[SLOTS_MAX];
};

_Static_assert(sizeof(struct slot) == 136, "board.py reads it");
_Static_assert(sizeof(struct board) == 16 + CELLS_MAX * 16 + SLOTS_MAX * 136, "board.py reads it");

struct writer {
	struct board *board;
	struct slot *slot, *peer; /* peer: NULL when alone */
	bool second;              /* of the two */
	uint64_t random;
	char note[96]; /* what the step is about, for the report */
};

/* All are called in the writer's directory. step() until told to stop, then end(). begin and end may be NULL. */
struct kind {
	const char *name;
	void (*begin)(void);
	void (*step)(void);
	void (*end)(void);
};

extern const struct kind kind_names, kind_io, kind_append, kind_lock, kind_listing, kind_small;
extern struct writer self;

/* `crash-writer latency FILE RING` and `crash-writer probe DIRECTORY` (latency.c). */
int latency_main(const char *path, const char *ring_path);
int probe_main(const char *directory);

uint64_t now_ns(void);

/* A number below n; n > 0. */
uint32_t below(uint32_t n);
/* True once in n times. */
bool once_in(uint32_t n);
/* Between low and high, both possible. */
uint32_t between(uint32_t low, uint32_t high);

/* Bytes that only this seed has at this offset. */
void pattern(void *out, uint64_t seed, uint64_t offset, size_t length);
/* Compares; says where it differs and ends the process. */
void pattern_check(const void *data, uint64_t seed, uint64_t offset, size_t length);

/* What the step is about: goes into the report. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Something is wrong: says what, stops all writers, ends the process. */
__attribute__((format(printf, 1, 2), noreturn)) void wrong(const char *format, ...);

#define CHECK(condition, ...)                                                                                        \
	do {                                                                                                         \
		if (!(condition))                                                                                    \
			wrong(__VA_ARGS__);                                                                          \
	} while (0)

void call_begin(void);
/* Keeps errno. */
void call_end(const char *text);
/* `got` is what the call returned, -1 with errno set. `expected`: that result, or -errno. Returns got. */
long call_must(long expected, long got, const char *text);
/* Any result but an error. */
long call_done(long got, const char *text);

/* The call, counted and timed. Keeps errno. */
#define CALL(call)                                                                                                   \
	({                                                                                                           \
		call_begin();                                                                                        \
		__auto_type result_ = (call);                                                                        \
		call_end(#call);                                                                                     \
		result_;                                                                                             \
	})
#define MUST(expected, call) call_must((long)(expected), (long)CALL(call), #call)
#define DONE(call) call_done((long)CALL(call), #call)

#endif
