/* From a path in the data directory to a key in the bucket, and which paths have none.
 *
 * Rule, reversible: the prefix, "/", then the path, in which a byte becomes %XX (upper-case) if it is a control
 * character (0x00–0x1f, 0x7f), belongs to no well-formed UTF-8 sequence, or is part of U+FFFE or U+FFFF, which XML
 * cannot hold. A literal % before two upper-case hexadecimal digits becomes %25. A first component ".ebbfs" becomes
 * "%2Eebbfs": that place under the prefix is ours. All else is literal. Reading back: every %XX is a byte.
 *
 * The prefix may hold {host}, {pod} and {namespace} and strftime(3) conversions of the file's mtime in local time;
 * %% is a literal %. Pure but for the environment (POD_NAME, POD_NAMESPACE, HOSTNAME), read by keys_init(). */
#ifndef EBBFS_KEYS_H
#define EBBFS_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "uploader/wire/job.h"

struct keys {
	char prefix[JOB_KEY_MAX + 1]; /* with {…} filled in */
	bool dated;                   /* the prefix holds strftime conversions */
	const char *exclude;
};

/* 0, or -EINVAL with one line in error when the prefix names an unknown {token} or one that is not to be had. */
int keys_init(
	struct keys *keys, const char *prefix, const char *exclude, char *error, size_t error_size) _must_check_;

/* 0; -ENAMETOOLONG when the key would be longer than S3 takes. `path` is relative, without a leading slash. */
int keys_make(
	const struct keys *keys, const char *path, int64_t mtime_ns, char out[static JOB_KEY_MAX + 1]) _must_check_;

/* The same rule for a single name or path without prefix, for people and JSON. Appends to `out`. */
struct buf;
void keys_escape(struct buf *out, const char *path);

/* True if a pattern of EBBFS_EXCLUDE matches: patterns without a slash are compared with the last component, the
 * others with the whole path (fnmatch(3), * does not match a slash there). */
bool keys_excluded(const struct keys *keys, const char *path);

#endif
