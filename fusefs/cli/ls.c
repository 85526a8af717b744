/* ebbfs ls: what ebbfs thinks of each file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fusefs/cli/answer.h"
#include "fusefs/cli/cli.h"
#include "fusefs/cli/path.h"
#include "uploader/base/units.h"

#define TIMEOUT_MS 10000

static const char *member(const json_t *entry, const char *name)
{
	const char *value = json_string_value(json_object_get(entry, name));

	return value && *value ? value : "-";
}

static bool is_directory(const json_t *entry)
{
	return !strcmp(member(entry, "type"), "directory") || !strcmp(member(entry, "type"), "dir");
}

/* A name as it is, or quoted when it would say something to the terminal. */
static const char *printable(const char *name, char quoted[static LOG_QUOTE_MAX])
{
	for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
		if (*c < 0x20 || *c == 0x7f || *c == '"' || *c == '\\')
			return log_quote(name, quoted);
		if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* C1 controls in UTF-8 */
			return log_quote(name, quoted);
	}
	return name;
}

static void print_entry(const char *directory, const json_t *entry)
{
	const char *reason = member(entry, "reason");
	int64_t mtime_ns = json_integer_value(json_object_get(entry, "mtime_ns"));
	time_t seconds = mtime_ns / NSEC_PER_SEC - (mtime_ns % NSEC_PER_SEC < 0);
	bool directory_itself = is_directory(entry);
	char quoted[LOG_QUOTE_MAX], why[LOG_QUOTE_MAX], size[24], when[32] = "-";
	char path[ASK_PATH_MAX];
	struct tm tm;

	if (localtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(size, sizeof(size), "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(entry, "size")));
	if (path_join(directory, member(entry, "name"), path) < 0)
		snprintf(path, sizeof(path), "%s", member(entry, "name"));
	printf("%-9s  %12s  %s  %s%s", directory_itself ? "dir" : member(entry, "state"),
		directory_itself ? "-" : size, when, printable(path, quoted), directory_itself ? "/" : "");
	if (strcmp(reason, "-") != 0)
		printf("  (%s)", printable(reason, why));
	putchar('\n');
}

/* Asks for one path. 0, or the exit code after it said why. */
static int get(const struct config *config, const char *path, struct buf *raw, json_t **ret)
{
	struct ask_request request = {.type = ASK_LIST};
	char quoted[LOG_QUOTE_MAX];
	int refused;

	snprintf(request.path, sizeof(request.path), "%s", path);
	int r = answer_get(config, &request, TIMEOUT_MS, raw, ret, &refused);

	if (r < 0)
		return answer_complain(config, r);
	if (refused < 0)
		return cli_fail(
			EXIT_FAILED, "%s: %s", log_quote(*path ? path : config->data, quoted), strerror(-refused));
	return 0;
}

struct walk {
	const struct config *config;
	char path[ASK_PATH_MAX]; /* of the directory in hand: one buffer for all levels */
	int64_t count;
};

/* Prints the parked files of a directory and of all below it. */
static int print_parked(struct walk *walk)
{
	_cleanup_json_ json_t *json = NULL;
	_cleanup_buf_ struct buf raw = {0};
	size_t length = strlen(walk->path), i;
	json_t *entry;
	int r = get(walk->config, walk->path, &raw, &json);

	if (r != 0)
		return r;
	json_array_foreach(json_object_get(json, "entries"), i, entry)
	{
		const char *name = member(entry, "name");

		if (!strcmp(member(entry, "state"), "parked")) {
			print_entry(walk->path, entry);
			walk->count++;
		}
		if (!is_directory(entry) || length + strlen(name) + 2 > sizeof(walk->path))
			continue;
		snprintf(walk->path + length, sizeof(walk->path) - length, "%s%s", length ? "/" : "", name);
		r = print_parked(walk);
		walk->path[length] = '\0';
		if (r != 0)
			return r;
	}
	return 0;
}

static int print_list(const struct config *config, const char *path, bool as_json)
{
	_cleanup_json_ json_t *json = NULL;
	_cleanup_buf_ struct buf raw = {0};
	json_t *entry;
	size_t i;
	int r = get(config, path, &raw, &json);

	if (r != 0)
		return r;
	if (as_json) {
		printf("%s\n", raw.data);
		return EXIT_DONE;
	}
	json_array_foreach(json_object_get(json, "entries"), i, entry) print_entry("", entry);
	return EXIT_DONE;
}

static int run(const struct config *config, int argc, char **argv)
{
	bool as_json = false, parked = false;
	const char *argument = NULL;
	char path[ASK_PATH_MAX];
	struct walk walk = {.config = config};

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			as_json = true;
		else if (!strcmp(argv[i], "--parked"))
			parked = true;
		else if (argv[i][0] == '-' || argument)
			return cli_usage(&command_ls, "unexpected argument %s", argv[i]);
		else
			argument = argv[i];
	}
	if (as_json && parked)
		return cli_usage(&command_ls, "--parked has no --json form");
	int r = path_in_data(config->data, argument ? argument : "", path);

	if (r < 0)
		return cli_usage(
			&command_ls, "%s: %s", argument, r == -EXDEV ? "is not below EBBFS_DATA" : strerror(-r));
	if (!parked)
		return print_list(config, path, as_json);
	memcpy(walk.path, path, sizeof(path));
	r = print_parked(&walk);
	if (r == 0 && walk.count == 0)
		printf("no file is parked\n");
	return r;
}

const struct command command_ls = {
	.name = "ls",
	.arguments = "[--json | --parked] [PATH]",
	.summary = "the state of each file",
	.help = "Lists state, size, time of change and name of a file, or of each name in a\n"
		"directory. PATH is relative to EBBFS_DATA, or absolute and below it.\n"
		"--parked lists only what needs a person, with the reason, in all directories\n"
		"below PATH. --json prints the list for programs.\n\n"
		"Exit codes: 0 listed, 1 no such path, 3 not running.",
	.run = run,
};
