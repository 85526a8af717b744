/* The kind "listing": listings that go on over many steps, while names come and go beside those that stay. Each name
 * that was there all the time must be listed exactly once, one that never was there never. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/crash/writer.h"

#define STAY 600
#define COME 100
#define OPEN_MAX_LISTINGS 4
#define BUFFER_BYTES 1024 /* one call gets some entries only */

struct entry64 {
	uint64_t ino;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

struct listing {
	int fd; /* 0: free */
	uint8_t seen[STAY], seen_come[COME];
	/* One place to come back to: what had been seen there. */
	int64_t mark;
	uint8_t marked[STAY], marked_come[COME];
	bool has_mark;
};

static struct listing listings[OPEN_MAX_LISTINGS];
static bool there[COME];
/* Since when it is as it is: a listing that began before may show it or not. */
static uint64_t changed[COME];
static uint64_t opened[OPEN_MAX_LISTINGS];

static void saw(struct listing *listing, const struct entry64 *entry)
{
	unsigned int number;
	char what;

	if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
		return;
	CHECK(sscanf(entry->name, "%c%u", &what, &number) == 2, "a strange name %s",
		entry->name); /* NOLINT(bugprone-unchecked-string-to-number-conversion) */
	CHECK((what == 's' && number < STAY) || (what == 'c' && number < COME), "a strange name %s", entry->name);
	if (what == 's') {
		CHECK(++listing->seen[number] == 1, "%s is listed twice", entry->name);
		CHECK(entry->type == DT_REG, "%s has type %d", entry->name, entry->type);
	} else {
		listing->seen_come[number] = 1;
	}
}

static void finish(struct listing *listing)
{
	for (unsigned int i = 0; i < STAY; i++)
		CHECK(listing->seen[i] == 1, "s%u is not listed", i);
	for (unsigned int i = 0; i < COME; i++) {
		if (changed[i] < opened[listing - listings])
			CHECK(listing->seen_come[i] == there[i], "c%u is %slisted", i, there[i] ? "not " : "");
	}
	MUST(0, close(listing->fd));
	listing->fd = 0;
}

static void begin_listing(struct listing *listing)
{
	note("begin a listing");
	*listing = (struct listing){.fd = (int)DONE(open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
	opened[listing - listings] = self.slot->steps;
}

/* Reads some entries; the names in the last buffer end at the offset where the next call goes on. */
static void go_on(struct listing *listing)
{
	_Alignas(struct entry64) char buffer[BUFFER_BYTES];

	note("go on with a listing");
	long bytes = DONE(syscall(SYS_getdents64, listing->fd, buffer, sizeof(buffer)));

	if (bytes == 0) {
		finish(listing);
		return;
	}
	for (long at = 0; at < bytes;) {
		const struct entry64 *entry = (const void *)(buffer + at);

		saw(listing, entry);
		at += entry->length;
		if (at >= bytes && !listing->has_mark && once_in(10)) {
			listing->mark = entry->offset;
			memcpy(listing->marked, listing->seen, sizeof(listing->seen));
			memcpy(listing->marked_come, listing->seen_come, sizeof(listing->seen_come));
			listing->has_mark = true;
		}
	}
}

static void go_back(struct listing *listing)
{
	note("go back in a listing");
	if (listing->has_mark && once_in(2)) {
		MUST(listing->mark, lseek(listing->fd, listing->mark, SEEK_SET));
		memcpy(listing->seen, listing->marked, sizeof(listing->seen));
		memcpy(listing->seen_come, listing->marked_come, sizeof(listing->seen_come));
	} else {
		MUST(0, lseek(listing->fd, 0, SEEK_SET));
		memset(listing->seen, 0, sizeof(listing->seen));
		memset(listing->seen_come, 0, sizeof(listing->seen_come));
		opened[listing - listings] = self.slot->steps;
	}
	listing->has_mark = false;
}

static void make_empty(const char *path)
{
	int fd = (int)DONE(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));

	MUST(0, close(fd));
}

static void come_or_go(void)
{
	unsigned int which = below(COME);
	char path[32];

	snprintf(path, sizeof(path), "d/c%u", which);
	note("%s %s", there[which] ? "remove" : "make", path);
	changed[which] = self.slot->steps;
	if (there[which]) {
		MUST(0, unlink(path));
	} else {
		make_empty(path);
	}
	there[which] = !there[which];
}

static void directories(void)
{
	struct stat st;

	note("mkdir and rmdir");
	MUST(0, mkdir("other", 0700));
	MUST(-EEXIST, mkdir("other", 0700));
	MUST(0, mkdir("other/below", 0700));
	MUST(-ENOTEMPTY, rmdir("other"));
	MUST(0, stat("other/below", &st));
	CHECK(S_ISDIR(st.st_mode), "no directory");
	MUST(0, rmdir("other/below"));
	MUST(0, rmdir("other"));
	MUST(-ENOENT, rmdir("other"));
}

static void begin(void)
{
	char path[32];

	note("make what stays");
	MUST(0, mkdir("d", 0755));
	for (unsigned int i = 0; i < STAY; i++) {
		snprintf(path, sizeof(path), "d/s%u", i);
		make_empty(path);
	}
}

static void step(void)
{
	struct listing *listing = &listings[below(OPEN_MAX_LISTINGS)];

	if (once_in(3))
		come_or_go();
	else if (once_in(20))
		directories();
	else if (listing->fd == 0)
		begin_listing(listing);
	else if (once_in(60))
		go_back(listing);
	else
		go_on(listing);
}

static void end(void)
{
	for (unsigned int i = 0; i < OPEN_MAX_LISTINGS; i++) {
		while (listings[i].fd)
			go_on(&listings[i]);
	}
}

const struct kind kind_listing = {.name = "listing", .begin = begin, .step = step, .end = end};
