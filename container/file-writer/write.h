/* Writing one file in one of the ways that such programs have. */
#ifndef EBBFS_FILE_WRITER_WRITE_H
#define EBBFS_FILE_WRITER_WRITE_H

#include <stdint.h>

#include "container/file-writer/options.h"
#include "container/file-writer/tally.h"

struct job {
	const struct options *options;
	struct tally *tally;
	char path[4096];
	uint64_t seed;
	uint64_t size;        /* bytes */
	unsigned int pattern; /* one of the PATTERN_ bits */
};

/* 0, or -1 when a call failed: then it was counted and printed, and what was made stays behind. May block for as long
 * as the calls do. Any thread, a job each. */
int write_file(const struct job *job) _must_check_;

#endif
