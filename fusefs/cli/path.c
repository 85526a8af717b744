#include "fusefs/cli/path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Without leading, double and trailing slashes, `.` and `..`. */
static int normalize(const char *path, char *out)
{
	size_t at = 0;

	out[0] = '\0';
	for (const char *part = path; *part;) {
		size_t length = strcspn(part, "/");

		if (length == 2 && part[0] == '.' && part[1] == '.') {
			if (at == 0)
				return -EXDEV;
			char *slash = strrchr(out, '/');

			at = slash ? (size_t)(slash - out) : 0;
		} else if (length > 0 && !(length == 1 && part[0] == '.')) {
			if (at + length + 2 > ASK_PATH_MAX)
				return -ENAMETOOLONG;
			if (at)
				out[at++] = '/';
			memcpy(out + at, part, length);
			at += length;
		}
		out[at] = '\0';
		part += length;
		part += *part == '/';
	}
	return 0;
}

int path_in_data(const char *data, const char *path, char out[static ASK_PATH_MAX])
{
	char root[ASK_PATH_MAX];
	int r = normalize(path, out);

	if (r < 0 || path[0] != '/')
		return r;
	r = normalize(data, root);
	if (r < 0)
		return r;

	size_t length = strlen(root);

	if (length == 0)
		return 0;
	if (strncmp(out, root, length) != 0 || (out[length] && out[length] != '/'))
		return -EXDEV;
	const char *rest = out + length + (out[length] == '/');

	memmove(out, rest, strlen(rest) + 1);
	return 0;
}

int path_join(const char *directory, const char *name, char out[static ASK_PATH_MAX])
{
	int n = snprintf(out, ASK_PATH_MAX, "%s%s%s", directory, *directory ? "/" : "", name);

	return n < 0 || n >= ASK_PATH_MAX ? -ENAMETOOLONG : 0;
}
