#include "uploader/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "uploader/base/cleanup.h"
#include "uploader/base/units.h"

#define LINE_MAX_BYTES 4096

static const char *program_name = "ebbfs";
static enum log_level max_level = LOG_LEVEL_INFO;
static bool as_json;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_init(const char *program, enum log_level level, bool json)
{
	program_name = program;
	max_level = level;
	as_json = json;
}

static int parse_word(const char *word, size_t len, enum log_level *level, bool *json)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strlen(level_names[i]) == len && !strncmp(level_names[i], word, len)) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	if (len == 4 && (!strncmp(word, "json", 4) || !strncmp(word, "text", 4))) {
		*json = word[0] == 'j';
		return 0;
	}
	return -EINVAL;
}

int log_parse(const char *text, enum log_level *ret_level, bool *ret_json)
{
	enum log_level level = LOG_LEVEL_INFO;
	bool json = false;

	for (const char *word = text;;) {
		size_t len = strcspn(word, ",");
		int r = parse_word(word, len, &level, &json);

		if (r < 0)
			return r;
		if (!word[len])
			break;
		word += len + 1;
	}
	*ret_level = level;
	*ret_json = json;
	return 0;
}

bool log_enabled(enum log_level level)
{
	return level <= max_level;
}

const char *log_quote(const char *text, char out[static LOG_QUOTE_MAX])
{
	static const char ellipsis[] = "…\"";
	size_t length = strlen(text), at = 0;
	const unsigned char *bytes = (const unsigned char *)text;

	out[at++] = '"';
	for (size_t i = 0; i < length;) {
		size_t run = utf8_sequence(bytes + i, length - i);

		if (at + sizeof(ellipsis) + 5 > LOG_QUOTE_MAX) {
			memcpy(out + at, ellipsis, sizeof(ellipsis));
			return out;
		}
		if (run == 0 || bytes[i] < 0x20 || bytes[i] == 0x7f) {
			at += (size_t)snprintf(out + at, 5, "\\x%02x", bytes[i]);
			i++;
			continue;
		}
		if (bytes[i] == '"' || bytes[i] == '\\')
			out[at++] = '\\';
		memcpy(out + at, bytes + i, run);
		at += run;
		i += run;
	}
	out[at++] = '"';
	out[at] = '\0';
	return out;
}

static size_t timestamp(char *out, size_t size)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t at = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return at + (size_t)snprintf(out + at, size - at, ".%03ldZ", now.tv_nsec / 1000000);
}

static size_t json_escape(const char *text, char *out, size_t size)
{
	size_t at = 0;

	for (const unsigned char *c = (const unsigned char *)text; *c && at + 8 < size; c++) {
		if (*c == '"' || *c == '\\') {
			out[at++] = '\\';
			out[at++] = (char)*c;
		} else if (*c < 0x20) {
			at += (size_t)snprintf(out + at, 7, "\\u%04x", *c);
		} else {
			out[at++] = (char)*c;
		}
	}
	out[at] = '\0';
	return at;
}

static void write_line(const char *line, size_t length)
{
	/* stderr may be a pipe whose reader is gone: there is nobody left to tell. */
	ssize_t written = write(STDERR_FILENO, line, length);
	(void)written;
}

void log_at(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char message[LINE_MAX_BYTES], line[2 * LINE_MAX_BYTES + 256], when[40];
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	timestamp(when, sizeof(when));

	size_t at;
	if (as_json) {
		at = (size_t)snprintf(line, sizeof(line),
			"{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"message\":\"", when,
			level_names[level], program_name);
		at += json_escape(message, line + at, sizeof(line) - at - 4);
		at += (size_t)snprintf(line + at, sizeof(line) - at, "\"}\n");
	} else {
		at = (size_t)snprintf(line, sizeof(line), "%s %s: %s%s%s\n", when, program_name,
			level <= LOG_LEVEL_WARNING ? level_names[level] : "", level <= LOG_LEVEL_WARNING ? ": " : "",
			message);
	}
	write_line(line, at < sizeof(line) ? at : sizeof(line) - 1);
	errno = saved_errno;
}
