#include "container/file-writer/options.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "uploader/base/units.h"

enum form {
	FORM_TEXT,
	FORM_NUMBER,
	FORM_SIZE,
	FORM_DURATION,
	FORM_YES,
	FORM_PATTERNS,
};

struct option {
	const char *flag;
	enum form form;
	const char *fallback;
	size_t offset;
	const char *help;
};

#define OPTION(flag_, form_, fallback_, field_, help_)                                                               \
	{.flag = (flag_),                                                                                            \
		.form = (form_),                                                                                     \
		.fallback = (fallback_),                                                                             \
		.offset = offsetof(struct options, field_),                                                          \
		.help = (help_)}

static const struct option table[] = {
	OPTION("dir", FORM_TEXT, "/var/file-writer/data", dir, "where files are written"),
	OPTION("rate", FORM_NUMBER, "12", rate, "files a second; 0: as fast as it goes"),
	OPTION("size", FORM_SIZE, "1K", size, "bytes of a file"),
	OPTION("patterns", FORM_PATTERNS, "plain,rename,append,large", patterns, "ways of writing, taken in turn"),
	OPTION("large-every", FORM_NUMBER, "200", large_every, "every Nth file is large; 0: none"),
	OPTION("large-size", FORM_SIZE, "8M", large_size, "bytes of a large file"),
	OPTION("append-pause", FORM_DURATION, "20ms", append_pause_ms, "between the pieces of an append"),
	OPTION("count", FORM_NUMBER, "0", count, "end after so many files; 0: never"),
	OPTION("for", FORM_DURATION, "0", for_ms, "end after this time; 0: never"),
	OPTION("threads", FORM_NUMBER, "4", threads, "writers at once, 1 to 256"),
	OPTION("manifest", FORM_TEXT, "", manifest, "append a line SEED SIZE NAME per finished file here"),
	OPTION("flat", FORM_YES, "no", flat, "yes: no directories by date and hour"),
};

static void *field(struct options *options, const struct option *option)
{
	return (char *)options + option->offset;
}

static int read_patterns(const char *text, unsigned int *ret)
{
	static const char *const names[] = {"plain", "rename", "append", "large"};
	unsigned int patterns = 0;

	while (*text) {
		size_t length = strcspn(text, ","), i = 0;

		while (i < ARRAY_SIZE(names) && (strlen(names[i]) != length || strncmp(names[i], text, length) != 0))
			i++;
		if (i == ARRAY_SIZE(names))
			return -EINVAL;
		patterns |= 1U << i;
		text += length;
		text += *text == ',';
	}
	*ret = patterns;
	return patterns ? 0 : -EINVAL;
}

static int read_yes(const char *text, bool *ret)
{
	*ret = !strcmp(text, "yes");
	return *ret || !strcmp(text, "no") ? 0 : -EINVAL;
}

static int read_value(struct options *options, const struct option *option, const char *value)
{
	switch (option->form) {
	case FORM_TEXT:
		*(const char **)field(options, option) = value;
		return 0;
	case FORM_NUMBER:
		return parse_u64(value, 0, 1000000000, field(options, option));
	case FORM_SIZE:
		return parse_size_bytes(value, field(options, option));
	case FORM_DURATION:
		return parse_duration_ms(value, field(options, option));
	case FORM_YES:
		return read_yes(value, field(options, option));
	case FORM_PATTERNS:
		return read_patterns(value, field(options, option));
	}
	return -EINVAL;
}

/* FILE_WRITER_LARGE_EVERY for large-every. */
static void variable_name(const char *flag, char out[static 40])
{
	int length = snprintf(out, 40, "FILE_WRITER_%s", flag);

	for (int i = 0; i < length && i < 39; i++)
		out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static void print_help(void)
{
	printf("file-writer: writes files, as the program does that ebbfs stands beside.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		printf("  --%-13s %s%s%s%s\n", table[i].flag, table[i].help, *table[i].fallback ? " [" : "",
			table[i].fallback, *table[i].fallback ? "]" : "");
	printf("\nThe same in the environment: FILE_WRITER_LARGE_EVERY=100. SIGTERM and SIGINT end it.\n"
	       "A failed system call is printed and makes the exit status 1.\n");
}

static const struct option *find_option(const char *flag, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strlen(table[i].flag) == length && !strncmp(table[i].flag, flag, length))
			return &table[i];
	return NULL;
}

/* --flag=value, --flag value, and --flat alone. Returns how many arguments it took, or -EINVAL. */
static int take_flag(char **argv)
{
	const char *flag = argv[0] + 2, *value = strchr(flag, '=');
	const struct option *option = strncmp(argv[0], "--", 2) != 0
					      ? NULL
					      : find_option(flag, value ? (size_t)(value - flag) : strlen(flag));
	char variable[40];
	int taken = 1;

	if (!option) {
		fprintf(stderr, "file-writer: %s: no such option; --help lists them\n", argv[0]);
		return -EINVAL;
	}
	if (value) {
		value++;
	} else if (option->form == FORM_YES) {
		value = "yes";
	} else {
		value = argv[1];
		taken = 2;
	}
	if (!value) {
		fprintf(stderr, "file-writer: %s needs a value\n", argv[0]);
		return -EINVAL;
	}
	variable_name(option->flag, variable);
	return setenv(variable, value, 1) < 0 ? -EINVAL : taken;
}

static int read_environment(struct options *options)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char variable[40];

		variable_name(table[i].flag, variable);
		const char *value = getenv(variable);

		if (!value)
			value = table[i].fallback;
		if (read_value(options, &table[i], value) < 0) {
			fprintf(stderr, "file-writer: --%s (%s): \"%s\" is not understood; such as \"%s\"\n",
				table[i].flag, variable, value, table[i].fallback);
			return -EINVAL;
		}
	}
	return 0;
}

int options_load(struct options *ret, int argc, char **argv)
{
	struct options options = {};

	for (int i = 1; i < argc;) {
		if (!strcmp(argv[i], "--help")) {
			print_help();
			return 1;
		}
		int taken = take_flag(argv + i);

		if (taken < 0)
			return taken;
		i += taken;
	}
	int r = read_environment(&options);

	if (r < 0)
		return r;
	if (options.threads < 1 || options.threads > 256) {
		fprintf(stderr, "file-writer: --threads (FILE_WRITER_THREADS): from 1 to 256\n");
		return -EINVAL;
	}
	*ret = options;
	return 0;
}
