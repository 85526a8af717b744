/* What the tests of the journal share: a directory per test, records to store, one-call transactions, a workload. */
#ifndef EBBFS_TESTS_JOURNAL_FIXTURE_H
#define EBBFS_TESTS_JOURNAL_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fusefs/journal/internal.h"
#include "uploader/base/fdio.h"

struct fixture {
	char directory[64];
	struct journal *journal;
};

static inline int count_files(const char *directory, const char *prefix, char *ret_name, size_t size)
{
	_cleanup_closedir_ DIR *dir = opendir(directory);
	const struct dirent *entry;
	int n = 0;

	assert_non_null(dir);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		n++;
		if (ret_name)
			snprintf(ret_name, size, "%s/%s", directory, entry->d_name);
	}
	return n;
}

static inline void in_directory(const struct fixture *fixture, const char *name, char out[static PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", fixture->directory, name);
}

static inline bool fixture_open_sized(struct fixture *fixture, size_t map_bytes)
{
	bool fresh = false;

	assert_int_equal(journal_open_sized(fixture->directory, map_bytes, &fixture->journal, &fresh), 0);
	return fresh;
}

static inline bool fixture_open(struct fixture *fixture)
{
	return fixture_open_sized(fixture, JOURNAL_MAP_BYTES);
}

static inline void fixture_close(struct fixture *fixture)
{
	journal_close(TAKE_PTR(fixture->journal));
}

/* A directory, without a journal. */
static inline int fixture_setup_empty(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/ebbfs-journal.XXXXXX");
	*state = fixture;
	return mkdtemp(fixture->directory) ? 0 : -1;
}

static inline int fixture_setup(void **state)
{
	int r = fixture_setup_empty(state);

	if (r == 0)
		fixture_open(*state);
	return r;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	char path[PATH_MAX];

	fixture_close(fixture);
	while (count_files(fixture->directory, "", path, sizeof(path)) > 0) {
		if (unlink(path) < 0)
			return -1;
	}
	int r = rmdir(fixture->directory);

	free(fixture);
	return r;
}

/* --- records --- */

static inline void fill(uint8_t *bytes, size_t length, uint64_t seed)
{
	for (size_t i = 0; i < length; i++) {
		seed = seed * 6364136223846793005U + 1442695040888963407U;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

/* As an uploaded one. */
static inline struct journal_file a_file(uint64_t ino)
{
	struct journal_file file = {
		.ino = ino,
		.birth_ns = 1760000000123456789LL + (int64_t)ino * 1000,
		.generation = 1,
		.proven_generation = 1,
		.size = 1024,
		.mtime_ns = 1760000000223456789LL + (int64_t)ino * 1000,
		.ctime_ns = 1760000000223999999LL + (int64_t)ino * 1000,
	};

	fill(file.sha256, sizeof(file.sha256), ino);
	fill(file.md5, sizeof(file.md5), ~ino);
	return file;
}

static inline struct journal_file a_waiting_file(uint64_t ino, int64_t since_ms, int64_t due_ms)
{
	return (struct journal_file){
		.ino = ino,
		.generation = 1,
		.work = JOURNAL_WAITING,
		.since_ms = since_ms,
		.due_ms = due_ms,
	};
}

static inline void copy_text(char *out, size_t size, const char *text)
{
	for (size_t i = 0; i + 1 < size && text[i]; i++)
		out[i] = text[i];
}

static inline struct journal_entry an_entry(uint64_t dir, const char *name, uint64_t ino, const char *key)
{
	struct journal_entry entry = {.dir = dir, .type = JOURNAL_TYPE_FILE, .ino = ino};

	copy_text(entry.name, sizeof(entry.name), name);
	if (key[0]) {
		copy_text(entry.key, sizeof(entry.key), key);
		entry.proven_generation = 1;
		entry.proof = JOB_PROOF_SHA256;
		entry.proven_ms = 1760000001000;
		copy_text(entry.etag, sizeof(entry.etag), "0123456789abcdef0123456789abcdef");
	}
	return entry;
}

/* --- one-call transactions --- */

struct call {
	struct journal_file *file;
	struct journal_entry *entry;
	uint64_t ino;
	const char *name;
	char *complaint;
	struct journal_counts counts;
	int64_t ms;
};

#define DEFINE_CALL(which, name_, expression)                                                                        \
	static inline int call_##name_(struct journal_txn *txn, void *arg)                                           \
	{                                                                                                            \
		struct call *call = arg;                                                                             \
		(void)call;                                                                                          \
		return expression;                                                                                   \
	}                                                                                                            \
	static inline int do_##name_(struct fixture *fixture, struct call *call)                                     \
	{                                                                                                            \
		return journal_##which(fixture->journal, call_##name_, call);                                        \
	}                                                                                                            \
	struct cleanup_needs_a_semicolon

DEFINE_CALL(update, put_file, journal_put_file(txn, call->file));
DEFINE_CALL(update, delete_file, journal_delete_file(txn, call->ino));
DEFINE_CALL(update, put_entry, journal_put_entry(txn, call->entry));
DEFINE_CALL(update, delete_entry, journal_delete_entry(txn, call->ino, call->name));
DEFINE_CALL(view, get_file, journal_get_file(txn, call->ino, call->file));
DEFINE_CALL(view, get_entry, journal_get_entry(txn, call->ino, call->name, call->entry));
DEFINE_CALL(view, get_by_key, journal_get_by_key(txn, call->name, call->entry));
DEFINE_CALL(view, get_counts, journal_get_counts(txn, &call->counts));
DEFINE_CALL(view, oldest, journal_oldest(txn, &call->ms, &call->ino));
DEFINE_CALL(view, next_due, journal_next_due(txn, &call->ms));
DEFINE_CALL(view, check, journal_check(txn, call->complaint));

static inline void put_file(struct fixture *fixture, struct journal_file file)
{
	assert_int_equal(do_put_file(fixture, &(struct call){.file = &file}), 0);
}

static inline void put_entry(struct fixture *fixture, struct journal_entry entry)
{
	assert_int_equal(do_put_entry(fixture, &(struct call){.entry = &entry}), 0);
}

static inline int get_file(struct fixture *fixture, uint64_t ino, struct journal_file *ret)
{
	return do_get_file(fixture, &(struct call){.ino = ino, .file = ret});
}

static inline int get_entry(struct fixture *fixture, uint64_t dir, const char *name, struct journal_entry *ret)
{
	return do_get_entry(fixture, &(struct call){.ino = dir, .name = name, .entry = ret});
}

static inline int get_by_key(struct fixture *fixture, const char *key, struct journal_entry *ret)
{
	return do_get_by_key(fixture, &(struct call){.name = key, .entry = ret});
}

static inline struct journal_counts get_counts(struct fixture *fixture)
{
	struct call call = {0};

	assert_int_equal(do_get_counts(fixture, &call), 0);
	return call.counts;
}

/* Everything agrees with everything. */
static inline void check_journal(struct fixture *fixture)
{
	char complaint[JOURNAL_COMPLAINT_MAX] = "";
	int r = do_check(fixture, &(struct call){.complaint = complaint});

	assert_string_equal(complaint, "");
	assert_int_equal(r, 0);
}

/* --- a workload that touches everything, from a number --- */

struct workload {
	uint64_t seed;
	uint64_t n_inos; /* inodes used: 1 … n_inos */
	int n_changes;
	bool blocks;
};

static inline uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005U + 1442695040888963407U;
	return *seed >> 33;
}

static inline void change(struct journal_txn *txn, uint64_t *seed, const struct workload *workload)
{
	static uint8_t digests[JOB_BLOCKS_MAX][JOB_SHA256_BYTES];
	uint64_t ino = 1 + next(seed) % workload->n_inos, what = next(seed) % 8;
	char name[32], key[64];

	snprintf(name, sizeof(name), "n%d", (int)(next(seed) % workload->n_inos));
	snprintf(key, sizeof(key), "k/n%d", (int)(next(seed) % workload->n_inos));
	if (what == 0)
		journal_delete_file(txn, ino);
	if (what == 1)
		journal_delete_entry(txn, next(seed) % 4, name);
	if (what == 2 && workload->blocks) {
		memset(digests, 0x55, sizeof(digests));
		journal_put_blocks(txn, ino, (uint32_t)(next(seed) % 300), digests);
	}
	if (what == 3 || what == 4 || what == 5) {
		struct journal_file file = a_file(ino);

		file.generation = 1 + next(seed) % 2;
		file.work = (enum journal_work)(next(seed) % 3);
		file.since_ms = (int64_t)next(seed) - (1LL << 30);
		file.due_ms = (int64_t)next(seed) - (1LL << 30);
		journal_put_file(txn, &file);
	}
	if (what >= 6) {
		struct journal_entry entry = an_entry(next(seed) % 4, name, ino, next(seed) % 4 ? key : "");

		journal_put_entry(txn, &entry);
	}
}

static inline int run_workload(struct journal_txn *txn, void *arg)
{
	const struct workload *workload = arg;
	uint64_t seed = workload->seed;

	for (int i = 0; i < workload->n_changes; i++)
		change(txn, &seed, workload);
	return 0;
}

static inline void make_file(const struct fixture *fixture, const char *name, const void *bytes, size_t length)
{
	char path[PATH_MAX];

	in_directory(fixture, name, path);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, bytes, length), 0);
}

#endif
