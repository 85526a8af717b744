/* What the program did and what it met: counters, the slowest call of each sort, every failure. Any thread. */
#ifndef EBBFS_FILE_WRITER_TALLY_H
#define EBBFS_FILE_WRITER_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

enum tally_call {
	TALLY_OPEN,
	TALLY_WRITE,
	TALLY_CLOSE,
	TALLY_RENAME,
	TALLY_MKDIR,
	TALLY_CALLS,
};

struct tally {
	atomic_uint_fast64_t files, bytes, failures;
	atomic_uint_fast64_t slowest_ns[TALLY_CALLS];
};

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t tally_clock(void);

/* Notes a call that began at started. A result below 0 is a failure: counted, and printed with errno. Returns the
 * result. */
long tally_note(struct tally *tally, enum tally_call call, int64_t started, long result, const char *path);

/* One line on stdout. */
void tally_print(const struct tally *tally, double seconds);

#endif
