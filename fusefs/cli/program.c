#include "fusefs/cli/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int try_at(const char *directory, size_t length, const char *name, char *out)
{
	struct stat st;
	int n = snprintf(out, PATH_MAX, "%.*s/%s", (int)length, directory, name);

	if (length == 0 || n < 0 || n >= PATH_MAX)
		return -ENOENT;
	if (stat(out, &st) < 0 || !S_ISREG(st.st_mode) || access(out, X_OK) < 0)
		return -ENOENT;
	return 0;
}

static int try_list(const char *list, const char *name, char *out)
{
	while (list && *list) {
		size_t length = strcspn(list, ":");

		if (try_at(list, length, name, out) == 0)
			return 0;
		list += length;
		list += *list == ':';
	}
	return -ENOENT;
}

static int try_beside(const char *name, char *out)
{
	/* The second to fourth: this program in build/fusefs/cli. */
	static const char *const places[] = {"", "/../anchor", "/../policy", "/../../uploader/worker"};
	char self[PATH_MAX], directory[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return -ENOENT;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int length = snprintf(directory, sizeof(directory), "%s%s", self, places[i]);

		if (length > 0 && (size_t)length < sizeof(directory) &&
			try_at(directory, (size_t)length, name, out) == 0)
			return 0;
	}
	return -ENOENT;
}

int program_find(const char *name, char out[static PATH_MAX])
{
	if (try_list(getenv("EBBFS_BIN"), name, out) == 0)
		return 0;
	if (try_beside(name, out) == 0)
		return 0;
	if (try_at(EBBFS_LIBEXECDIR, strlen(EBBFS_LIBEXECDIR), name, out) == 0)
		return 0;
	return try_list(getenv("PATH"), name, out);
}

void program_forget_credentials(void)
{
	char **to = environ;

	for (char **from = environ; from && *from; from++) {
		if (strncmp(*from, "AWS_", 4) != 0)
			*to++ = *from;
	}
	if (to)
		*to = NULL;
}
