/* The options of file-writer: flags, or FILE_WRITER_* in the environment. */
#ifndef EBBFS_FILE_WRITER_OPTIONS_H
#define EBBFS_FILE_WRITER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

/* Bits of options.patterns. */
#define PATTERN_PLAIN 0x1  /* create, write, close */
#define PATTERN_RENAME 0x2 /* the same under a temporary name, then rename */
#define PATTERN_APPEND 0x4 /* in pieces, with close and reopen between */
#define PATTERN_LARGE 0x8  /* now and then a large one */

struct options {
	const char *dir;
	const char *manifest; /* "" for none */
	uint64_t rate;        /* files/s over all threads; 0: no limit */
	uint64_t size;        /* bytes */
	uint64_t large_every; /* every Nth file is large; 0: none */
	uint64_t large_size;  /* bytes */
	uint64_t count;       /* files; 0: no end */
	int64_t for_ms;       /* 0: no end */
	int64_t append_pause_ms;
	uint64_t threads;
	unsigned int patterns;
	bool flat;
};

/* 0; 1 when help was asked for and printed; -EINVAL when a value was wrong, which is then on stderr. A flag is put
 * into the environment. Strings live as long as the environment does. */
int options_load(struct options *ret, int argc, char **argv) _must_check_;

#endif
