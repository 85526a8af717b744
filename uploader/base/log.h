/* Log lines on stderr: `ebbfs-fusefs: uploaded key="a/b" bytes=12`, or one JSON object a line.
 *
 * Programs log, libraries return: an error is logged once, where it is decided. Never a key's secret, a token or a
 * signed URL. Every function may be called from any thread; a line is written by one write(2). */
#ifndef EBBFS_BASE_LOG_H
#define EBBFS_BASE_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Sets the program's name (kept by reference), the level and the form. Call once, before the first thread. */
void log_init(const char *program, enum log_level level, bool json);

/* Reads `error|warning|info|debug`, `json|text`, or both with a comma. Returns 0 or -EINVAL. */
int log_parse(const char *text, enum log_level *ret_level, bool *ret_json);

bool log_enabled(enum log_level level);

/* The message is text and key=value pairs; quote what may hold blanks with log_quote(). Lines are cut at 4 KiB. */
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                               \
	do {                                                                                                         \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                                    \
			log_at(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                        \
	} while (0)

#define LOG_QUOTE_MAX 1100

/* Writes bytes as a double-quoted string with \" \\ and \xNN for what is not printable ASCII or valid UTF-8,
 * cut with "…" when the room ends. Returns out. */
const char *log_quote(const char *text, char out[static LOG_QUOTE_MAX]);

#endif
