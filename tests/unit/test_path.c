/* What people type after `ebbfs ls`, as paths below the data directory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fusefs/cli/path.h"

static void in_data(void **state)
{
	static const struct {
		const char *data, *path;
		int r;
		const char *out;
	} rows[] = {
		{"/d", "", 0, ""},
		{"/d", ".", 0, ""},
		{"/d", "a", 0, "a"},
		{"/d", "a//b/./c/", 0, "a/b/c"},
		{"/d", "a/../b", 0, "b"},
		{"/d", "a/b/../../c", 0, "c"},
		{"/d", "...", 0, "..."},
		{"/d", "..", -EXDEV, NULL},
		{"/d", "a/../..", -EXDEV, NULL},
		{"/d", "/d", 0, ""},
		{"/d", "/d/", 0, ""},
		{"/d/", "//d//x", 0, "x"},
		{"/d/e", "/d/e/f/g", 0, "f/g"},
		{"/d/e", "/d/e/../e/f", 0, "f"},
		{"/d/e", "/d", -EXDEV, NULL},
		{"/d/e", "/d/ef", -EXDEV, NULL},
		{"/d", "/", -EXDEV, NULL},
		{"/", "/etc", 0, "etc"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char out[ASK_PATH_MAX];

		assert_int_equal(path_in_data(rows[i].data, rows[i].path, out), rows[i].r);
		if (rows[i].out)
			assert_string_equal(out, rows[i].out);
	}
}

static void longest(void **state)
{
	char path[ASK_PATH_MAX + 2], out[ASK_PATH_MAX];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[ASK_PATH_MAX - 2] = '\0';
	assert_int_equal(path_in_data("/d", path, out), 0);
	assert_string_equal(out, path);
	path[ASK_PATH_MAX - 2] = 'x';
	path[ASK_PATH_MAX + 1] = '\0';
	assert_int_equal(path_in_data("/d", path, out), -ENAMETOOLONG);
	assert_int_equal(path_join("a", path, out), -ENAMETOOLONG);
	assert_int_equal(path_join("", "b", out), 0);
	assert_string_equal(out, "b");
	assert_int_equal(path_join("a", "b", out), 0);
	assert_string_equal(out, "a/b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(in_data), cmocka_unit_test(longest)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
