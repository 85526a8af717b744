/* Words of a sequence's line: splitting, expansion, numbers, flags and data. Not here: what the words mean. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/posix/context.h"

struct text {
	char *bytes;
	size_t used, size;
};

static int text_add(struct text *text, const char *bytes, size_t count)
{
	if (text->used + count + 1 > text->size) {
		size_t size = (text->used + count + 1) * 2;
		char *bigger = realloc(text->bytes, size);

		if (!bigger)
			return -1;
		text->bytes = bigger;
		text->size = size;
	}
	memcpy(text->bytes + text->used, bytes, count);
	text->used += count;
	text->bytes[text->used] = '\0';
	return 0;
}

/* {TEXT*N} and {fd:slot}; returns the characters taken, 0 when it is neither. */
static size_t expand_brace(struct context *context, const char *from, size_t length, struct text *text)
{
	const char *end = memchr(from, '}', length), *star;
	char path[64], name[SLOT_NAME_MAX] = "";

	if (!end)
		return 0;
	if (strncmp(from, "{fd:", 4) == 0) {
		snprintf(name, sizeof(name), "%.*s", (int)(end - from - 4), from + 4);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", context_fd(context, name));
		return text_add(text, path, strlen(path)) < 0 ? 0 : end - from + 1;
	}
	star = memrchr(from, '*', end - from);
	if (!star)
		return 0;
	for (long i = 0, times = strtol(star + 1, NULL, 10); i < times; i++) {
		if (text_add(text, from + 1, star - from - 1) < 0)
			return 0;
	}
	return end - from + 1;
}

/* \n \s \\ \xHH; returns the characters taken. */
static size_t expand_escape(const char *from, struct text *text)
{
	static const char known[] = "n\ns \\\\t\t{{}}";
	unsigned byte;
	char c;

	if (from[1] == 'x' && sscanf(from + 2, "%2x", &byte) == 1) {
		c = (char)byte;
		return text_add(text, &c, 1) < 0 ? 0 : 4;
	}
	for (const char *at = known; *at; at += 2) {
		if (from[1] == at[0])
			return text_add(text, at + 1, 1) < 0 ? 0 : 2;
	}
	return 0;
}

static char *expand(struct context *context, const char *from, size_t length)
{
	struct text text = {};

	if (text_add(&text, "", 0) < 0)
		return NULL;
	if (length == 2 && strncmp(from, "''", 2) == 0)
		return text.bytes;
	for (size_t i = 0; i < length;) {
		size_t taken = 0;

		if (from[i] == '{')
			taken = expand_brace(context, from + i, length - i, &text);
		else if (from[i] == '\\')
			taken = expand_escape(from + i, &text);
		if (taken == 0 && text_add(&text, from + i, taken = 1) < 0)
			break;
		i += taken;
	}
	return text.bytes;
}

int words_split(struct context *context, const char *line, char *ret_words[static WORDS_MAX + 1])
{
	int count = 0;

	memset((void *)ret_words, 0, (WORDS_MAX + 1) * sizeof(*ret_words));
	for (;;) {
		size_t length;

		line += strspn(line, " \t");
		length = strcspn(line, " \t\n");
		if (length == 0)
			return count;
		if (count == WORDS_MAX || !(ret_words[count] = expand(context, line, length)))
			return -1;
		count++;
		line += length;
	}
}

void words_free(char **words)
{
	for (int i = 0; i < WORDS_MAX; i++)
		free(words[i]);
}

static bool flag_find(const struct flag *table, const char *name, size_t length, long *value)
{
	for (; table->name; table++) {
		if (strlen(table->name) == length && strncmp(table->name, name, length) == 0) {
			*value |= table->value;
			return true;
		}
	}
	return false;
}

long words_flags(struct context *context, const struct flag *table, const char *word)
{
	long value = 0;

	if (!word)
		return 0;
	if (isdigit((unsigned char)*word) || *word == '-')
		return (long)words_number(context, word, 0);
	while (*word) {
		size_t length = strcspn(word, "|");

		if (!flag_find(table, word, length, &value))
			context_bad(context, "no flag %.*s", (int)length, word);
		word += length;
		word += *word == '|';
	}
	return value;
}

long long words_number(struct context *context, const char *word, long long fallback)
{
	char *end;
	long long value;

	if (!word)
		return fallback;
	value = strtoll(word, &end, 0);
	if (*end == 'K')
		value *= 1 << 10, end++;
	else if (*end == 'M')
		value *= 1 << 20, end++;
	else if (*end == 'G')
		value *= 1 << 30, end++;
	if (end == word || *end)
		context_bad(context, "not a number: %s", word);
	return value;
}

void words_pattern(char *buffer, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		buffer[i] = (char)(seed * 31 + i + (i >> 8) * 7 + (i >> 16) * 13);
}

char *words_data(struct context *context, const char *word, size_t *ret_bytes)
{
	unsigned seed = 0;
	char *data;

	if (sscanf(word, "#%u:", &seed) == 1 && strchr(word, ':')) {
		*ret_bytes = (size_t)words_number(context, strchr(word, ':') + 1, 0);
		data = malloc(*ret_bytes + 1);
		if (data)
			words_pattern(data, *ret_bytes, seed);
		return data;
	}
	*ret_bytes = strlen(word);
	return strdup(word);
}

static uint64_t fnv1a(const unsigned char *bytes, size_t count)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < count; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	return hash;
}

void words_show(FILE *out, const void *data, size_t bytes)
{
	const unsigned char *at = data;

	if (bytes > DATA_SHOWN_MAX) {
		fprintf(out, " [%zu bytes %016llx]", bytes, (unsigned long long)fnv1a(at, bytes));
		return;
	}
	fputs(" \"", out);
	for (size_t i = 0; i < bytes; i++) {
		if (isprint(at[i]) && at[i] != '"' && at[i] != '\\')
			fputc(at[i], out);
		else
			fprintf(out, "\\x%02x", at[i]);
	}
	fputc('"', out);
}
