/* The journal over files that are damaged, foreign or of a newer release. */
#include <errno.h>
#include <sys/stat.h>

#include "journal_fixture.h"

static void make_store_of(struct fixture *fixture, struct workload workload)
{
	fixture_open(fixture);
	assert_int_equal(journal_update(fixture->journal, run_workload, &workload), 0);
	fixture_close(fixture);
}

static void make_store(struct fixture *fixture)
{
	make_store_of(fixture, (struct workload){.seed = 1, .n_inos = 300, .n_changes = 4000, .blocks = true});
}

static off_t data_size(const struct fixture *fixture)
{
	char path[PATH_MAX];
	struct stat st;

	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void overwrite(const struct fixture *fixture, const void *bytes, size_t length, off_t offset)
{
	char path[PATH_MAX];

	in_directory(fixture, STORE_DATA_NAME, path);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, length, offset), (ssize_t)length);
}

static void truncate_data(const struct fixture *fixture, off_t size)
{
	char path[PATH_MAX];

	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(truncate(path, size), 0);
}

/* As after an end without journal_close(). */
static void mark_unclean(const struct fixture *fixture)
{
	make_file(fixture, JOURNAL_LOCK_NAME, "open\n", 5);
}

/* Opened fresh, with the damaged file beside it; works. */
static void assert_moved_aside(struct fixture *fixture, off_t size)
{
	char path[PATH_MAX], wanted[PATH_MAX];
	struct stat st;

	assert_true(fixture_open(fixture));
	assert_int_equal(count_files(fixture->directory, STORE_DATA_NAME ".damaged-", path, sizeof(path)), 1);
	assert_non_null(journal_moved_aside(fixture->journal));
	in_directory(fixture, journal_moved_aside(fixture->journal), wanted);
	assert_string_equal(path, wanted);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_int_equal(get_counts(fixture).files, 0);
	put_file(fixture, a_file(1));
	check_journal(fixture);
	fixture_close(fixture);
	assert_false(fixture_open(fixture));
	assert_null(journal_moved_aside(fixture->journal));
	assert_int_equal(get_counts(fixture).files, 1);
	fixture_close(fixture);
	assert_int_equal(unlink(path), 0);
	in_directory(fixture, STORE_DATA_NAME, path);
	assert_int_equal(unlink(path), 0);
}

static void a_truncated_store_is_moved_aside(void **state)
{
	struct fixture *fixture = *state;
	static const off_t sizes[] = {1, 100, 152, 4096, 4097, 4096 + 160, 8192, 8193, 12288, 65536};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		make_store(fixture);
		assert_true(data_size(fixture) > sizes[i]);
		truncate_data(fixture, sizes[i]);
		assert_moved_aside(fixture, sizes[i]);
	}
	make_store(fixture);
	off_t most = data_size(fixture) / 2;

	truncate_data(fixture, most);
	assert_moved_aside(fixture, most);
}

static void a_foreign_file_is_moved_aside(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t garbage[64 << 10];
	static const uint32_t magic = 0x12345678;

	fill(garbage, sizeof(garbage), 9);
	make_file(fixture, STORE_DATA_NAME, garbage, sizeof(garbage));
	assert_moved_aside(fixture, sizeof(garbage));
	memset(garbage, 0, sizeof(garbage));
	make_file(fixture, STORE_DATA_NAME, garbage, sizeof(garbage));
	assert_moved_aside(fixture, sizeof(garbage));
	make_store(fixture);
	off_t size = data_size(fixture);

	overwrite(fixture, &magic, sizeof(magic), 16); /* behind the page header */
	assert_moved_aside(fixture, size);
	make_file(fixture, STORE_DATA_NAME, "", 0);
	assert_true(fixture_open(fixture));
	assert_null(journal_moved_aside(fixture->journal));
}

/* One page is bad, in one of three ways, and the last owner was killed. Returns whether the store was moved aside. */
static bool open_with_bad_page(struct fixture *fixture, const struct buf *good, off_t page_number)
{
	static uint8_t page[4096];
	char path[PATH_MAX];

	make_file(fixture, STORE_DATA_NAME, good->data, good->length);
	memset(page, page_number % 3 == 0 ? 0xff : 0, sizeof(page));
	if (page_number % 3 == 2)
		fill(page, sizeof(page), (uint64_t)page_number);
	overwrite(fixture, page, sizeof(page), page_number * (off_t)sizeof(page));
	mark_unclean(fixture);
	bool fresh = fixture_open(fixture);

	assert_int_equal(fresh, journal_moved_aside(fixture->journal) != NULL);
	check_journal(fixture);
	fixture_close(fixture);
	while (count_files(fixture->directory, STORE_DATA_NAME ".damaged-", path, sizeof(path)) > 0)
		assert_int_equal(unlink(path), 0);
	return fresh;
}

/* Free pages may be anything, and a digest looks like any other: then the store opens as it was. Nothing ever crashes,
 * and what opens agrees with itself. */
static void a_bad_page_is_found_after_a_crash(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		struct workload workload;
		int percent_wanted;
	} cases[] = {
		{{.seed = 1, .n_inos = 2000, .n_changes = 20000}, 75}, /* hardly a page that is in no tree */
		{{.seed = 1, .n_inos = 300, .n_changes = 4000, .blocks = true}, 10},
	};

	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		_cleanup_buf_ struct buf good = {.max = 64 << 20};
		int n_found = 0, n_pages = 0;
		char path[PATH_MAX];

		make_store_of(fixture, cases[c].workload);
		in_directory(fixture, STORE_DATA_NAME, path);
		assert_int_equal(read_file(AT_FDCWD, path, &good), 0);
		off_t n = (off_t)good.length / 4096;

		for (off_t i = 2; i < n; i += n / 50 + 1, n_pages++)
			n_found += open_with_bad_page(fixture, &good, i);
		print_message("found %d of %d bad pages\n", n_found, n_pages);
		assert_true(n_found * 100 >= n_pages * cases[c].percent_wanted);
		assert_int_equal(unlink(path), 0);
	}
}

static int put_schema(struct journal_txn *txn, void *arg)
{
	struct record_key key;
	struct buf *bytes = arg;

	record_key_text(&key, JOURNAL_META_SCHEMA);
	return store_put(&txn->store, STORE_META, &key, (struct store_bytes){bytes->data, bytes->length});
}

static void a_newer_schema_is_refused_and_kept(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		uint8_t version;
		uint32_t schema;
		int wanted;
	} cases[] = {{1, JOURNAL_SCHEMA + 1, -EPROTO}, {2, JOURNAL_SCHEMA, -EPROTO}, {1, JOURNAL_SCHEMA, 0}};
	_cleanup_buf_ struct buf bytes = {0};

	for (int unclean = 0; unclean < 2; unclean++) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			bool fresh = true;

			assert_false(fixture->journal);
			fixture_open(fixture);
			assert_int_equal(record_encode_schema(&bytes, cases[i].schema), 0);
			bytes.data[0] = (char)cases[i].version;
			assert_int_equal(journal_update(fixture->journal, put_schema, &bytes), 0);
			put_file(fixture, a_file(1));
			fixture_close(fixture);
			if (unclean)
				mark_unclean(fixture);
			int r = journal_open(fixture->directory, &fixture->journal, &fresh);

			assert_int_equal(r, cases[i].wanted);
			assert_int_equal(count_files(fixture->directory, STORE_DATA_NAME ".", NULL, 0), 0);
			if (r == 0)
				assert_int_equal(get_counts(fixture).files, 1);
			fixture_close(fixture);
			if (r < 0) {
				char path[PATH_MAX];

				in_directory(fixture, STORE_DATA_NAME, path);
				assert_int_equal(unlink(path), 0);
			}
		}
	}
}

static int put_bad_file(struct journal_txn *txn, void *arg)
{
	(void)arg;
	struct record_key key;

	record_key_ino(&key, 1);
	return store_put(&txn->store, STORE_FILE, &key, (struct store_bytes){"\x01\xff", 2});
}

/* Read as damage; the next opening, though the journal was closed, looks at everything. */
static void a_bad_record_is_eio_and_remembered(void **state)
{
	struct fixture *fixture = *state;
	struct journal_file file = a_file(1), read;

	fixture_open(fixture);
	put_file(fixture, file);
	assert_int_equal(journal_update(fixture->journal, put_bad_file, NULL), 0);
	assert_int_equal(get_file(fixture, 1, &read), -EIO);
	assert_int_equal(do_put_file(fixture, &(struct call){.file = &file}), -EIO);
	fixture_close(fixture);
	assert_true(fixture_open(fixture));
	assert_non_null(journal_moved_aside(fixture->journal));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_empty, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_truncated_store_is_moved_aside),
		TEST(a_foreign_file_is_moved_aside),
		TEST(a_bad_page_is_found_after_a_crash),
		TEST(a_newer_schema_is_refused_and_kept),
		TEST(a_bad_record_is_eio_and_remembered),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
