#include "tests/unit/unit.h"

#include <fcntl.h>
#include <string.h>

#include "uploader/base/fdio.h"
#include "uploader/s3/creds.h"

static const char *const variables[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"};

static int clear(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	setenv("HOME", "/nonexistent", 1);
	return 0;
}

static void test_profiles(void **state)
{
	(void)state;
	static const char text[] = "# comment\n"
				   "[default]\n"
				   "aws_access_key_id = AK\r\n"
				   "aws_secret_access_key=s=e/c+r\n"
				   "\n"
				   "[ swift ]\n"
				   "  aws_access_key_id=test:tester  \n"
				   "aws_secret_access_key = testing\n"
				   "aws_session_token = token==\n"
				   "region = nowhere\n"
				   "[half]\n"
				   "aws_access_key_id = AK\n"
				   "[empty]\n"
				   "aws_access_key_id =\n"
				   "[role]\n"
				   "role_arn = arn\n"
				   "[last]\naws_access_key_id=L\naws_secret_access_key=M";
	static const struct {
		const char *profile;
		int r;
		const char *access, *secret, *token;
	} cases[] = {
		{"default", 0, "AK", "s=e/c+r", NULL},
		{"swift", 0, "test:tester", "testing", "token=="},
		{"half", -EINVAL, NULL, NULL, NULL},
		{"empty", -ENOENT, NULL, NULL, NULL},
		{"role", -ENOENT, NULL, NULL, NULL},
		{"missing", -ENOENT, NULL, NULL, NULL},
		{"last", 0, "L", "M", NULL},
		{"", -ENOENT, NULL, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(creds_done) struct creds creds = {0};

		assert_int_equal(creds_parse_profile(text, sizeof(text) - 1, cases[i].profile, &creds), cases[i].r);
		if (cases[i].r < 0) {
			assert_null(creds.access_key);
			continue;
		}
		assert_string_equal(creds.access_key, cases[i].access);
		assert_string_equal(creds.secret_key, cases[i].secret);
		if (cases[i].token)
			assert_string_equal(creds.session_token, cases[i].token);
		else
			assert_null(creds.session_token);
	}
}

static void test_environment(void **state)
{
	(void)state;
	const struct creds *creds = NULL;
	char error[CREDS_ERROR_MAX] = "";

	setenv("AWS_ACCESS_KEY_ID", "test:tester", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "testing", 1);
	setenv("AWS_SESSION_TOKEN", "", 1);
	_cleanup_(creds_provider_freep) struct creds_provider *chain = creds_chain_new();

	assert_int_equal(creds_get(chain, &creds, error), 0);
	assert_string_equal(creds->access_key, "test:tester");
	assert_null(creds->session_token);
}

static void test_half_an_environment(void **state)
{
	(void)state;
	const struct creds *creds = NULL;
	char error[CREDS_ERROR_MAX] = "";

	setenv("AWS_SECRET_ACCESS_KEY", "very-secret", 1);
	_cleanup_(creds_provider_freep) struct creds_provider *chain = creds_chain_new();

	assert_int_equal(creds_get(chain, &creds, error), -EINVAL);
	assert_non_null(strstr(error, "AWS_ACCESS_KEY_ID is not"));
	assert_null(strstr(error, "very-secret"));
}

static void test_none(void **state)
{
	(void)state;
	const struct creds *creds = NULL;
	char error[CREDS_ERROR_MAX] = "";
	_cleanup_(creds_provider_freep) struct creds_provider *chain = creds_chain_new();

	assert_int_equal(creds_get(chain, &creds, error), -ENOENT);
	assert_non_null(strstr(error, "AWS_ACCESS_KEY_ID"));
	assert_null(creds);
}

static void test_file(void **state)
{
	(void)state;
	static const char text[] = "[p]\naws_access_key_id=A\naws_secret_access_key=B\n";
	char path[] = "/tmp/ebbfs-creds-XXXXXX", error[CREDS_ERROR_MAX] = "";
	int fd = mkstemp(path);
	const struct creds *creds = NULL;

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, sizeof(text) - 1), 0);
	close(fd);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	setenv("AWS_PROFILE", "p", 1);
	_cleanup_(creds_provider_freep) struct creds_provider *chain = creds_chain_new();

	assert_int_equal(creds_get(chain, &creds, error), 0);
	assert_string_equal(creds->access_key, "A");
	unlink(path);
	/* What was read stays good. */
	assert_int_equal(creds_get(chain, &creds, error), 0);
	assert_string_equal(creds->secret_key, "B");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_profiles, clear),
		cmocka_unit_test_setup(test_environment, clear),
		cmocka_unit_test_setup(test_half_an_environment, clear), cmocka_unit_test_setup(test_none, clear),
		cmocka_unit_test_setup(test_file, clear)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
