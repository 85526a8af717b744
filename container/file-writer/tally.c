#include "container/file-writer/tally.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const names[TALLY_CALLS] = {
	[TALLY_OPEN] = "open",
	[TALLY_WRITE] = "write",
	[TALLY_CLOSE] = "close",
	[TALLY_RENAME] = "rename",
	[TALLY_MKDIR] = "mkdir",
};

int64_t tally_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

long tally_note(struct tally *tally, enum tally_call call, int64_t started, long result, const char *path)
{
	int error = errno;
	uint_fast64_t took = (uint_fast64_t)(tally_clock() - started);
	uint_fast64_t slowest = atomic_load(&tally->slowest_ns[call]);

	while (took > slowest && !atomic_compare_exchange_weak(&tally->slowest_ns[call], &slowest, took))
		;
	if (result < 0) {
		atomic_fetch_add(&tally->failures, 1);
		fprintf(stderr, "file-writer: %s %s: %s\n", names[call], path, strerror(error));
	}
	errno = error;
	return result;
}

void tally_print(const struct tally *tally, double seconds)
{
	printf("file-writer: files=%lu bytes=%lu failures=%lu seconds=%.1f",
		(unsigned long)atomic_load(&tally->files), (unsigned long)atomic_load(&tally->bytes),
		(unsigned long)atomic_load(&tally->failures), seconds);
	for (int call = 0; call < TALLY_CALLS; call++)
		printf(" slowest_%s_us=%lu", names[call],
			(unsigned long)atomic_load(&tally->slowest_ns[call]) / 1000);
	printf("\n");
}
