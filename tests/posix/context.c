/* The context of a running sequence: slots, and the dispatch of one line. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/posix/context.h"

static const struct command *const tables[] = {
	cmd_file_commands,
	cmd_io_commands,
	cmd_name_commands,
	cmd_attr_commands,
	cmd_stat_commands,
	cmd_dir_commands,
	cmd_xattr_commands,
	cmd_map_commands,
	cmd_lock_commands,
	cmd_proc_commands,
	cmd_load_commands,
};

long context_bad(struct context *context, const char *format, ...)
{
	va_list args;

	context->bad = true;
	va_start(args, format);
	fputs(" !! ", context->notes);
	vfprintf(context->notes, format, args);
	va_end(args);
	errno = EINVAL;
	return -1;
}

struct slot *context_slot(struct context *context, const char *name)
{
	struct slot *slot = context->slots;

	for (; slot < context->slots + SLOTS_MAX - 1 && *slot->name; slot++) {
		if (strcmp(slot->name, name) == 0)
			return slot;
	}
	if (*slot->name)
		context_bad(context, "too many slots");
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	slot->fd = -1;
	return slot;
}

int context_fd(struct context *context, const char *name)
{
	struct slot *slot = context_slot(context, name);

	return slot->dir ? dirfd(slot->dir) : slot->fd;
}

static void slot_close(struct slot *slot)
{
	if (slot->dir)
		closedir(slot->dir);
	else if (slot->fd >= 0)
		close(slot->fd);
	slot->dir = NULL;
	slot->fd = -1;
}

long context_keep(struct context *context, const char *name, int fd)
{
	struct slot *slot = context_slot(context, name);
	int saved_errno = errno;

	slot_close(slot);
	slot->fd = fd;
	errno = saved_errno;
	return fd < 0 ? -1 : 0;
}

int context_at(struct context *context, const char *word, const char **ret_path)
{
	char name[SLOT_NAME_MAX];
	const char *end = *word == '<' ? strchr(word, '>') : NULL;

	*ret_path = end ? end + 1 : word;
	if (!end)
		return AT_FDCWD;
	snprintf(name, sizeof(name), "%.*s", (int)(end - word - 1), word + 1);
	return context_fd(context, name);
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct command *command = tables[i]; command->name; command++) {
			if (strcmp(command->name, name) == 0)
				return command;
		}
	}
	return NULL;
}

/* "!command": a step that has to work, or the sequence would compare nothing. */
static void run_words(struct context *context, char **words, int count, FILE *out)
{
	bool must = *words[0] == '!';
	const struct command *command = command_find(words[0] + must);
	long result;

	if (!command || count - 1 < command->words_min) {
		context_bad(context, command ? "usage: %s %s" : "no command %s%s", words[0] + must,
			command ? command->usage : "");
		return;
	}
	errno = 0;
	result = command->run(context, words);
	if (result < 0 && must)
		context_bad(context, "setup failed");
	if (result < 0)
		fprintf(out, " = -1 %s", strerrorname_np(errno) ?: "?");
	else
		fprintf(out, " = %ld", result);
}

static void run_here(struct context *context, const char *line, FILE *out)
{
	char *words[WORDS_MAX + 1], *notes = NULL;
	size_t notes_bytes = 0;
	int count;

	context->notes = open_memstream(&notes, &notes_bytes);
	if (!context->notes)
		abort();
	count = words_split(context, line, words);
	fprintf(out, "%s", line);
	if (count > 0)
		run_words(context, words, count, out);
	fclose(context->notes);
	fprintf(out, "%s\n", notes);
	free(notes);
	words_free(words);
}

void context_run_line(struct context *context, char *line, FILE *out)
{
	char name[SLOT_NAME_MAX];
	int skip = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "@%15s %n", name, &skip) == 1 && skip > 0)
		peer_line(context, name, line + skip, true, out);
	else if (sscanf(line, "&%15s %n", name, &skip) == 1 && skip > 0)
		peer_line(context, name, line + skip, false, out);
	else if (sscanf(line, "join %15s", name) == 1)
		peer_join(context, name, out);
	else
		run_here(context, line, out);
	fflush(out);
}

void context_done(struct context *context)
{
	peer_done(context);
	for (struct slot *slot = context->slots; slot < context->slots + SLOTS_MAX; slot++) {
		if (!*slot->name)
			continue;
		if (slot->map)
			munmap(slot->map, slot->map_bytes);
		slot_close(slot);
	}
}
