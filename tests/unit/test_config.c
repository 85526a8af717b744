#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "uploader/base/config.h"

static int clear(void **state)
{
	(void)state;
	char **entry = environ;

	while (*entry) {
		char name[64];
		size_t length = strcspn(*entry, "=");

		if (strncmp(*entry, "EBBFS_", 6) != 0 || length >= sizeof(name)) {
			entry++;
			continue;
		}
		memcpy(name, *entry, length);
		name[length] = '\0';
		unsetenv(name);
		entry = environ;
	}
	return 0;
}

/* Up to 6 words; the result of config_load(). */
static int load(struct config *config, char *error, int *argc, char **argv)
{
	*error = '\0';
	return config_load(config, argc, argv, error);
}

static void test_defaults(void **state)
{
	(void)state;
	char *argv[] = {(char[]){"p"}, NULL}, error[CONFIG_ERROR_MAX];
	struct config config;
	int argc = 1;

	assert_int_equal(load(&config, error, &argc, argv), 0);
	assert_string_equal(config.data, "/var/file-writer/data");
	assert_string_equal(config.backing, config.data);
	assert_string_equal(config.run, "/run/ebbfs");
	assert_int_equal(config.settle_ms, 2000);
	assert_int_equal(config.drain_ms, 60000);
	assert_int_equal(config.connections, 16);
	assert_int_equal(config.addressing, CONFIG_ADDRESSING_AUTO);
	assert_int_equal(config.uploader_uid, 65532);
	assert_true(config.passthrough);
	assert_string_equal(config.bucket, "");
	assert_int_equal(config_require_target(&config, error), -EINVAL);
	assert_non_null(strstr(error, "EBBFS_TARGET"));
}

static void test_targets(void **state)
{
	(void)state;
	static const struct {
		const char *target, *bucket, *prefix; /* bucket NULL: refused */
	} cases[] = {
		{"s3://b", "b", ""},
		{"s3://b/", "b", ""},
		{"s3://b/p", "b", "p"},
		{"s3://b/p/q/", "b", "p/q"},
		{"s3://b//p", "b", "p"},
		{"s3://My.b_u-1/dt=%Y-%m-%d/{host}", "My.b_u-1", "dt=%Y-%m-%d/{host}"},
		{"s3://", NULL, NULL},
		{"s3:///p", NULL, NULL},
		{"b/p", NULL, NULL},
		{"http://b/p", NULL, NULL},
		{"s3://b/p/../q", NULL, NULL},
		{"s3://b/./q", NULL, NULL},
		{"s3://b/p//q", NULL, NULL},
		{"s3://b?x/p", NULL, NULL},
		{"s3://b@c/p", NULL, NULL},
		{"s3://b c", NULL, NULL},
		{"s3://b/..p", "b", "..p"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *argv[] = {(char[]){"p"}, NULL}, error[CONFIG_ERROR_MAX];
		struct config config;
		int argc = 1;

		setenv("EBBFS_TARGET", cases[i].target, 1);
		assert_int_equal(load(&config, error, &argc, argv), cases[i].bucket ? 0 : -EINVAL);
		if (!cases[i].bucket) {
			assert_non_null(strstr(error, "EBBFS_TARGET="));
			assert_null(strchr(error, '\n'));
			continue;
		}
		assert_string_equal(config.bucket, cases[i].bucket);
		assert_string_equal(config.prefix, cases[i].prefix);
		assert_int_equal(config_require_target(&config, error), 0);
	}
}

static void test_wrong_values(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
		{"EBBFS_DATA", "relative"},
		{"EBBFS_RUN", ""},
		{"EBBFS_SETTLE", "soon"},
		{"EBBFS_CONNECTIONS", "0"},
		{"EBBFS_CONNECTIONS", "257"},
		{"EBBFS_CONNECTIONS", "many"},
		{"EBBFS_S3_ADDRESSING", "host"},
		{"EBBFS_PASSTHROUGH", "true"},
		{"EBBFS_UPLOADER_USER", "0:0"},
		{"EBBFS_UPLOADER_USER", "1000"},
		{"EBBFS_UPLOADER_USER", "1000:0"},
		{"EBBFS_UPLOADER_USER", "nobody:nogroup"},
		{"EBBFS_UPLOADER_USER", "4294967295:1"},
		{"EBBFS_LOG", "loud"},
		{"EBBFS_DRAIN", "-1s"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *argv[] = {(char[]){"p"}, NULL}, error[CONFIG_ERROR_MAX];
		struct config config = {.connections = 99};
		int argc = 1;

		clear(NULL);
		setenv(cases[i][0], cases[i][1], 1);
		assert_int_equal(load(&config, error, &argc, argv), -EINVAL);
		assert_non_null(strstr(error, cases[i][0]));
		assert_null(strchr(error, '\n'));
		assert_int_equal(config.connections, 99);
	}
}

static void test_flags(void **state)
{
	(void)state;
	char *argv[] = {(char[]){"p"}, (char[]){"--settle"}, (char[]){"5s"}, (char[]){"--connections=3"},
		(char[]){"word"}, (char[]){"--other"}, (char[]){"--s3-addressing=path"}, (char[]){"--"},
		(char[]){"--settle"}, NULL};
	char error[CONFIG_ERROR_MAX];
	struct config config;
	int argc = 9;

	setenv("EBBFS_SETTLE", "9s", 1);
	assert_int_equal(load(&config, error, &argc, argv), 0);
	assert_int_equal(argc, 4);
	assert_string_equal(argv[1], "word");
	assert_string_equal(argv[2], "--other");
	assert_string_equal(argv[3], "--settle");
	assert_null(argv[4]);
	assert_int_equal(config.settle_ms, 5000);
	assert_int_equal(config.connections, 3);
	assert_int_equal(config.addressing, CONFIG_ADDRESSING_PATH);
	assert_string_equal(getenv("EBBFS_SETTLE"), "5s");
}

static void test_flag_without_value(void **state)
{
	(void)state;
	char *argv[] = {(char[]){"p"}, (char[]){"--settle"}, NULL}, error[CONFIG_ERROR_MAX];
	char *help[] = {(char[]){"p"}, (char[]){"--help"}, NULL};
	struct config config;
	int argc = 2;

	assert_int_equal(load(&config, error, &argc, argv), -EINVAL);
	assert_string_equal(error, "--settle needs a value");
	argc = 2;
	assert_int_equal(load(&config, error, &argc, help), 1);
}

static void count(const char *name, void *arg)
{
	(*(int *)arg)++;
	assert_string_equal(name, "EBBFS_SETLE");
}

static void test_unknown(void **state)
{
	(void)state;
	int unknown = 0;

	setenv("EBBFS_SETLE", "1s", 1);
	setenv("EBBFS_SETTLE", "1s", 1);
	config_unknown(count, &unknown);
	assert_int_equal(unknown, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_defaults, clear),
		cmocka_unit_test_setup(test_targets, clear), cmocka_unit_test_setup(test_wrong_values, clear),
		cmocka_unit_test_setup(test_flags, clear), cmocka_unit_test_setup(test_flag_without_value, clear),
		cmocka_unit_test_setup(test_unknown, clear)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
