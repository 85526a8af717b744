/* Commands for mappings. A fault shows as the name of its signal. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/posix/context.h"

#define LOAD_BYTES_MAX 65536

static const struct flag protections[] = {
	{"R", PROT_READ},
	{"W", PROT_WRITE},
	{"X", PROT_EXEC},
	{},
};

static const struct flag map_flags[] = {
	{"SHARED", MAP_SHARED},
	{"PRIVATE", MAP_PRIVATE},
	{"POPULATE", MAP_POPULATE},
	{"VALIDATE", MAP_SHARED_VALIDATE},
	{},
};

static const struct flag sync_flags[] = {
	{"SYNC", MS_SYNC},
	{"ASYNC", MS_ASYNC},
	{"INVALIDATE", MS_INVALIDATE},
	{},
};

static sigjmp_buf fault;

static void fault_handler(int signal_number)
{
	siglongjmp(fault, signal_number);
}

static long cmd_mmap(struct context *context, char **argv)
{
	struct slot *slot = context_slot(context, argv[1]);
	size_t bytes = (size_t)words_number(context, argv[3], 0);
	void *map = mmap(NULL, bytes, (int)words_flags(context, protections, argv[4]),
		(int)words_flags(context, map_flags, argv[5]), context_fd(context, argv[2]),
		words_number(context, argv[6], 0));

	if (map == MAP_FAILED)
		return -1;
	slot->map = map;
	slot->map_bytes = bytes;
	return 0;
}

/* Copies between a mapping and a buffer; a fault ends it. */
static long guarded_copy(struct context *context, char *to, const char *from, size_t bytes)
{
	int signal_number = sigsetjmp(fault, 1);

	if (signal_number) {
		fprintf(context->notes, " %s", sigabbrev_np(signal_number));
		errno = EFAULT;
		return -1;
	}
	signal(SIGBUS, fault_handler);
	signal(SIGSEGV, fault_handler);
	memcpy(to, from, bytes);
	return (long)bytes;
}

static char *map_place(struct context *context, char **argv, size_t bytes)
{
	struct slot *slot = context_slot(context, argv[1]);
	size_t offset = (size_t)words_number(context, argv[2], 0);

	if (!slot->map || offset + bytes > slot->map_bytes) {
		errno = EFAULT;
		return NULL;
	}
	return slot->map + offset;
}

static long cmd_mstore(struct context *context, char **argv)
{
	size_t bytes = 0;
	_cleanup_free_ char *data = words_data(context, argv[3], &bytes);
	char *place = map_place(context, argv, bytes);

	return place ? guarded_copy(context, place, data, bytes) : -1;
}

static long cmd_mload(struct context *context, char **argv)
{
	size_t bytes = (size_t)words_number(context, argv[3], 0);
	static char data[LOAD_BYTES_MAX];
	const char *place = map_place(context, argv, bytes < LOAD_BYTES_MAX ? bytes : LOAD_BYTES_MAX);
	long count = place && bytes <= LOAD_BYTES_MAX ? guarded_copy(context, data, place, bytes) : -1;

	if (count > 0)
		words_show(context->notes, data, bytes);
	return count;
}

static long cmd_msync(struct context *context, char **argv)
{
	const struct slot *slot = context_slot(context, argv[1]);

	return msync(slot->map, slot->map_bytes, (int)words_flags(context, sync_flags, argv[2]));
}

static long cmd_mprotect(struct context *context, char **argv)
{
	const struct slot *slot = context_slot(context, argv[1]);

	return mprotect(slot->map, slot->map_bytes, (int)words_flags(context, protections, argv[2]));
}

static long cmd_munmap(struct context *context, char **argv)
{
	struct slot *slot = context_slot(context, argv[1]);
	long result = munmap(slot->map, slot->map_bytes);

	slot->map = NULL;
	return result;
}

const struct command cmd_map_commands[] = {
	{"mmap", 5, cmd_mmap, "MAP SLOT BYTES R|W|X SHARED|PRIVATE [OFFSET]"},
	{"mstore", 3, cmd_mstore, "MAP OFFSET DATA"},
	{"mload", 3, cmd_mload, "MAP OFFSET BYTES"},
	{"msync", 2, cmd_msync, "MAP SYNC|ASYNC|INVALIDATE"},
	{"mprotect", 2, cmd_mprotect, "MAP R|W|X"},
	{"munmap", 1, cmd_munmap, "MAP"},
	{},
};
