/* The digests of a file, and the file under them. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "uploader/base/fdio.h"
#include "uploader/base/units.h"
#include "uploader/worker/digest.h"
#include "uploader/worker/source.h"

#define MIB (1U << 20)

static uint8_t bytes[3 * MIB + 5];

static void sha256_of(const uint8_t *data, size_t length, uint8_t *out)
{
	assert_true(EVP_Digest(data, length, out, NULL, EVP_sha256(), NULL));
}

static void check(size_t size, size_t step, uint32_t n_blocks)
{
	_cleanup_(digest_freep) struct digest *digest = digest_new(size);
	_cleanup_job_result_ struct job_result result = {0};
	uint8_t want[JOB_SHA256_BYTES], md5[JOB_MD5_BYTES];

	assert_non_null(digest);
	for (size_t at = 0; at < size; at += step)
		assert_int_equal(digest_update(digest, bytes + at, size - at < step ? size - at : step), 0);
	assert_int_equal(digest_update(digest, bytes, 1), -EIO);
	assert_int_equal(digest_finish(digest, &result), 0);
	sha256_of(bytes, size, want);
	assert_memory_equal(result.sha256, want, sizeof(want));
	assert_true(EVP_Digest(bytes, size, md5, NULL, EVP_md5(), NULL));
	assert_memory_equal(result.md5, md5, sizeof(md5));
	assert_int_equal(result.n_blocks, n_blocks);
	for (uint32_t i = 0; i < n_blocks; i++) {
		size_t left = size - (size_t)i * MIB;

		sha256_of(bytes + (size_t)i * MIB, left < MIB ? left : MIB, want);
		assert_memory_equal(result.blocks[i], want, sizeof(want));
	}
}

static void test_digests(void **state)
{
	(void)state;
	static const struct {
		size_t size, step;
		uint32_t n_blocks;
	} cases[] = {{0, 1, 0}, {1, 1, 0}, {MIB, MIB, 0}, {MIB + 1, MIB, 2}, {2 * MIB, 4096, 2},
		{2 * MIB, 2 * MIB, 2}, {3 * MIB + 5, 999983, 4}, {3 * MIB + 5, 3 * MIB + 5, 4}};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761U >> 13);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check(cases[i].size, cases[i].step, cases[i].n_blocks);
}

static void test_too_few(void **state)
{
	(void)state;
	_cleanup_(digest_freep) struct digest *digest = digest_new(2);
	struct job_result result = {0};

	assert_int_equal(digest_update(digest, "x", 1), 0);
	assert_int_equal(digest_finish(digest, &result), -EIO);
}

static int make_file(size_t size, struct stat *ret)
{
	char path[] = "/tmp/ebbfs-source-XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0)
		abort();
	unlink(path);
	assert_int_equal(write_full(fd, bytes, size), 0);
	assert_int_equal(fstat(fd, ret), 0);
	return fd;
}

static void test_source(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, SOURCE_WHOLE_BYTES, SOURCE_WHOLE_BYTES + 1};
	static uint8_t out[64];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct stat st;
		int fd = make_file(sizes[i], &st);
		_cleanup_(source_done) struct source source = {.fd = -1};

		assert_int_equal(source_init(&source, fd, sizes[i], timespec_ns(st.st_mtim)), 0);
		assert_int_equal(source_load(&source), 0);
		assert_int_equal(source.whole != NULL, sizes[i] <= SOURCE_WHOLE_BYTES);
		assert_int_equal(source_read(&source, out, sizeof(out), sizes[i]), 0);
		assert_int_equal(
			source_read(&source, out, sizeof(out), sizes[i] ? sizes[i] - 1 : 0), sizes[i] ? 1 : 0);
		assert_true(source_unchanged(&source));
		/* A change of the times alone is a change. */
		assert_int_equal(futimens(fd, (struct timespec[]){{1, 0}, {1, 0}}), 0);
		assert_false(source_unchanged(&source));
	}
}

static void test_source_refused(void **state)
{
	(void)state;
	struct stat st;
	struct source source;
	int fd = make_file(5, &st);
	int64_t mtime = timespec_ns(st.st_mtim);

	assert_int_equal(source_init(&source, fd, 6, mtime), -ESTALE);
	assert_int_equal(source_init(&source, fd, 5, mtime + 1), -ESTALE);
	assert_int_equal(source_init(&source, fd, 5, mtime), 0);
	assert_int_equal(ftruncate(fd, 3), 0);
	assert_int_equal(source_load(&source), -ESTALE);
	assert_false(source_unchanged(&source));
	source_done(&source);
	assert_int_equal(source_init(&source, open("/dev/null", O_RDONLY | O_CLOEXEC), 0, 0), -EINVAL);
	source_done(&source);
	assert_int_equal(source.fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_digests), cmocka_unit_test(test_too_few),
		cmocka_unit_test(test_source), cmocka_unit_test(test_source_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
