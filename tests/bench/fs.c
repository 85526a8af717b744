/* fs-bench DIR SECONDS: measures a directory, each thing for about that long, and prints "NAME VALUE" lines.
 *
 * seq_read, seq_write: MiB/s in 1 MiB requests over a file that fits the page cache, the write with fsync at the end.
 * rand_read, rand_write: 4 KiB requests per second at random places of a cached file. All others: microseconds per
 * operation. Mounting and comparing is done by the script `fs` beside this file. */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "uploader/base/cleanup.h"

#define MIB (1 << 20)
#define FILE_MIB 64
#define SMALL_BYTES 4096
#define BATCH 50 /* files that one timed stretch makes, renames, removes */
#define BATCHES 40
#define LIST_NAMES 10000
#define STRETCH 50
#define SAMPLES_MAX 100000

static char block[MIB];
static double seconds;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void need(bool done, const char *what)
{
	if (!done) {
		perror(what);
		exit(1);
	}
}

static int order(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;

	return (one > other) - (one < other);
}

/* Sorts the samples. The disk is shared: the median ignores the stretches in which somebody else had it. */
static double median(double *samples, size_t count)
{
	qsort(samples, count, sizeof(*samples), order);
	return samples[count / 2];
}

/* Calls once(arg) for the time given; the median over stretches of the mean of one call, in microseconds. */
static double repeat(void (*once)(void *arg), void *arg)
{
	static double samples[SAMPLES_MAX];
	double start = now(), before = start, after = start;
	size_t count = 0;

	for (; count < SAMPLES_MAX && after - start < seconds; before = after) {
		for (int i = 0; i < STRETCH; i++)
			once(arg);
		after = now();
		samples[count++] = (after - before) / STRETCH * 1e6;
	}
	return median(samples, count);
}

static void write_file(void)
{
	_cleanup_close_ int fd = open("large", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	double start = now(), elapsed;

	need(fd >= 0, "large");
	for (int i = 0; i < FILE_MIB; i++)
		need(write(fd, block, MIB) == MIB, "write");
	need(fsync(fd) == 0, "fsync");
	elapsed = now() - start;
	printf("seq_write %.1f\n", FILE_MIB / elapsed);
}

static void read_file(void)
{
	_cleanup_close_ int fd = open("large", O_RDONLY | O_CLOEXEC);
	double start, end;
	long blocks = 0;

	need(fd >= 0, "large");
	while (read(fd, block, MIB) > 0)
		;
	start = now();
	do {
		need(lseek(fd, 0, SEEK_SET) == 0, "lseek");
		for (; read(fd, block, MIB) == MIB; blocks++)
			;
		end = now();
	} while (end - start < seconds);
	printf("seq_read %.1f\n", (double)blocks / (end - start));
}

static off_t random_place(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (off_t)(state % (FILE_MIB * (MIB / SMALL_BYTES))) * SMALL_BYTES;
}

static void rand_read(void *arg)
{
	need(pread(*(const int *)arg, block, SMALL_BYTES, random_place()) == SMALL_BYTES, "pread");
}

static void rand_write(void *arg)
{
	need(pwrite(*(const int *)arg, block, SMALL_BYTES, random_place()) == SMALL_BYTES, "pwrite");
}

static void random_io(void)
{
	_cleanup_close_ int fd = open("large", O_RDWR | O_CLOEXEC);

	need(fd >= 0, "large");
	printf("rand_read %.0f\n", 1e6 / repeat(rand_read, &fd));
	printf("rand_write %.0f\n", 1e6 / repeat(rand_write, &fd));
}

static void one_fstat(void *arg)
{
	struct stat st;

	need(fstat(*(const int *)arg, &st) == 0, "fstat");
}

static void one_stat(void *arg)
{
	(void)arg;
	struct stat st;

	need(stat("small", &st) == 0, "stat");
}

static void one_open_read_close(void *arg)
{
	(void)arg;
	int fd = open("small", O_RDONLY | O_CLOEXEC);

	need(read(fd, block, SMALL_BYTES) == SMALL_BYTES, "read");
	close(fd);
}

static void known_file(void)
{
	_cleanup_close_ int fd = open("small", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	need(fd >= 0 && write(fd, block, SMALL_BYTES) == SMALL_BYTES, "small");
	printf("fstat %.3f\n", repeat(one_fstat, &fd));
	close(TAKE_FD(fd));
	printf("stat %.3f\n", repeat(one_stat, NULL));
	printf("open_read_close %.3f\n", repeat(one_open_read_close, NULL));
}

static const char *name_in(char out[static 32], char kind, int batch, int i)
{
	snprintf(out, 32, "%c%d-%d", kind, batch, i);
	return out;
}

static void make_one(int batch, int i)
{
	char name[32];
	int fd = open(name_in(name, 'a', batch, i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	need(fd >= 0 && write(fd, block, SMALL_BYTES) == SMALL_BYTES, name);
	close(fd);
}

static void rename_one(int batch, int i)
{
	char name[32], other[32];

	need(rename(name_in(name, 'a', batch, i), name_in(other, 'b', batch, i)) == 0, name);
}

static void mkdir_one(int batch, int i)
{
	char name[32];

	need(mkdir(name_in(name, 'd', batch, i), 0755) == 0, name);
}

static void unlink_one(int batch, int i)
{
	char name[32];

	need(unlink(name_in(name, 'b', batch, i)) == 0, name);
}

static void stat_one(int batch, int i)
{
	char name[32];
	struct stat st;

	need(stat(name_in(name, 'b', batch, i), &st) == 0, name);
}

/* The median over batches, in microseconds per call. */
static void batches(const char *what, void (*one)(int batch, int i))
{
	double samples[BATCHES];

	for (int batch = 0; batch < BATCHES; batch++) {
		double start = now();

		for (int i = 0; i < BATCH; i++)
			one(batch, i);
		samples[batch] = (now() - start) / BATCH * 1e6;
	}
	printf("%s %.3f\n", what, median(samples, BATCHES));
}

/* What `ls -l` does with a large directory; microseconds per name. */
static void list(void)
{
	_cleanup_closedir_ DIR *dir = NULL;
	const struct dirent *entry;
	struct stat st;
	char name[32];
	double start;
	int names = 0;

	need(mkdir("list", 0755) == 0 && chdir("list") == 0, "list");
	for (int i = 0; i < LIST_NAMES; i++) {
		_cleanup_close_ int fd = -1;

		snprintf(name, sizeof(name), "name-%d", i);
		fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		need(fd >= 0, name);
	}
	dir = opendir(".");
	need(dir != NULL, "list");
	start = now();
	for (; (entry = readdir(dir)); names++)
		need(fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0, entry->d_name);
	printf("list_stat %.3f\n", (now() - start) / names * 1e6);
	need(names == LIST_NAMES + 2, "names in list");
	need(chdir("..") == 0, "list");
}

/* What was made is left there: ext4 looks over every inode that was removed in the last minutes before it gives out a
 * new one, so that a round that removed its files would slow down all the rounds that follow. */
static void make_round(void)
{
	known_file();
	batches("create_write_close", make_one);
	batches("rename", rename_one);
	batches("mkdir", mkdir_one);
	list();
	write_file();
	read_file();
	random_io();
	need(unlink("large") == 0, "unlink");
}

int main(int argc, char **argv)
{
	bool remove = argc == 5 && !strcmp(argv[1], "remove");

	if (argc != 5 || (!remove && strcmp(argv[1], "make") != 0) || (seconds = strtod(argv[4], NULL)) <= 0) {
		fputs("usage: fs-bench make|remove DIR ROUND SECONDS\n", stderr);
		return 2;
	}
	need(chdir(argv[2]) == 0, argv[2]);
	need(remove || mkdir(argv[3], 0755) == 0, argv[3]);
	need(chdir(argv[3]) == 0, argv[3]);
	memset(block, 'x', sizeof(block));
	/* What the one before left to write must not fall into this one's time. */
	sync();
	if (remove) {
		/* Names that the caller has just seen, as they are when a program removes what it made. */
		batches("stat_before_unlink", stat_one);
		batches("unlink", unlink_one);
	} else {
		make_round();
	}
	return 0;
}
