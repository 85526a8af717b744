/* crash-writer KIND DIRECTORY BOARD SLOT PEER SEED STEPS: one checking writer (writer.h). SLOT and PEER are numbers of
 * slots on the board, PEER -1 for none; STEPS 0: until the board says stop. Exit 0: everything was as it must be.
 * `crash-writer latency …` and `crash-writer probe …`: latency.c. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/writer.h"
#include "uploader/base/cleanup.h"

#define WRITER_UMASK 027

static const struct kind *const kinds[] = {
	&kind_names,
	&kind_io,
	&kind_append,
	&kind_lock,
	&kind_listing,
	&kind_small,
	NULL,
};

static const struct kind *find_kind(const char *name)
{
	for (const struct kind *const *kind = kinds; *kind; kind++) {
		if (!strcmp((*kind)->name, name))
			return *kind;
	}
	return NULL;
}

static int map_board(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	void *at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	self.board = at;
	return 0;
}

static void sit_down(const char *kind, int slot, int peer, uint64_t seed)
{
	self.slot = &self.board->slots[slot];
	self.peer = peer >= 0 ? &self.board->slots[peer] : NULL;
	self.second = peer >= 0 && peer < slot;
	self.random = seed;
	snprintf(self.slot->name, sizeof(self.slot->name), "%s-%d", kind, slot);
	self.slot->seed = seed;
	self.slot->pid = (uint32_t)getpid();
}

static int work(const struct kind *kind, uint64_t steps)
{
	if (kind->begin)
		kind->begin();
	while (!__atomic_load_n(&self.board->stop, __ATOMIC_ACQUIRE)) {
		if (steps && self.slot->steps == steps)
			break;
		self.slot->steps++;
		kind->step();
	}
	/* What another writer found ends all; what is half done then is nobody's fault. */
	if (kind->end && !__atomic_load_n(&self.board->failed, __ATOMIC_ACQUIRE))
		kind->end();
	__atomic_store_n(&self.slot->ended, 1, __ATOMIC_RELEASE);
	return 0;
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && !strcmp(argv[1], "latency"))
		return latency_main(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "probe"))
		return probe_main(argv[2]);
	const struct kind *kind = argc == 8 ? find_kind(argv[1]) : NULL;
	int slot = kind ? atoi(argv[4]) : -1,
	    peer = kind ? atoi(argv[5]) : -1; /* NOLINT(bugprone-unchecked-string-to-number-conversion) */

	if (slot < 0 || slot >= SLOTS_MAX || peer >= SLOTS_MAX) {
		fprintf(stderr, "usage: crash-writer KIND DIRECTORY BOARD SLOT PEER SEED STEPS\n");
		return 2;
	}
	int r = map_board(argv[3]);

	if (r < 0 || chdir(argv[2]) < 0) {
		fprintf(stderr, "crash-writer: %s, %s: %s\n", argv[2], argv[3], strerror(r < 0 ? -r : errno));
		return 2;
	}
	umask(WRITER_UMASK);
	sit_down(argv[1], slot, peer, strtoull(argv[6], NULL, 10));
	return work(kind, strtoull(argv[7], NULL, 10));
}
