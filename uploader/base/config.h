/* Configuration: the EBBFS_* environment, and the same names as flags (EBBFS_SETTLE, --settle 2s or --settle=2s).
 *
 * One table (config.c) says each name, its form, its default and its meaning; `--help` prints it. A flag is put into
 * the environment, so that a child process sees what its parent was told. A wrong value is one line that says which,
 * what was found and what is wanted. AWS's own variables are not here: the uploader reads them itself. */
#ifndef EBBFS_BASE_CONFIG_H
#define EBBFS_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "uploader/base/cleanup.h"
#include "uploader/base/log.h"

#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_NOT_RUNNING 3
#define EXIT_TIMED_OUT 4
/* Between ebbfs-fusefs and `ebbfs run`: the state of the mount is in a form that this version cannot go on with. */
#define EXIT_FOREIGN_STATE 5

#define CONFIG_BUCKET_MAX 256
#define CONFIG_PREFIX_MAX 1024
#define CONFIG_ERROR_MAX 512

enum config_addressing {
	CONFIG_ADDRESSING_AUTO, /* virtual host for AWS, path for a custom endpoint */
	CONFIG_ADDRESSING_PATH,
	CONFIG_ADDRESSING_VIRTUAL,
};

/* Strings live as long as the environment does. */
struct config {
	const char *target;             /* EBBFS_TARGET as typed; "" when not given */
	char bucket[CONFIG_BUCKET_MAX]; /* out of it */
	char prefix[CONFIG_PREFIX_MAX]; /* out of it, without slashes at its ends; "" for none; a template */
	const char *data;               /* absolute */
	const char *backing;            /* absolute; same as data unless set */
	const char *state;              /* absolute */
	const char *run;                /* absolute */
	const char *exclude;            /* globs with colons between; "" for none */
	const char *uploader_user;      /* uid:gid, numbers */
	uint32_t uploader_uid, uploader_gid;
	int64_t settle_ms;
	int64_t drain_ms;
	int64_t fail_open_ms; /* EBBFS_FAIL_OPEN_AFTER */
	uint32_t connections;
	enum config_addressing addressing;
	bool passthrough; /* false: EBBFS_PASSTHROUGH=no */
	enum log_level log_level;
	bool log_json;
};

/* Takes the flags it knows out of argv (argc shrinks; "--" ends them; argv[0] stays) and reads the environment.
 * Returns 0; -EINVAL with one line in error; 1 when --help was among the flags. EBBFS_TARGET may be missing: who
 * needs it asks config_require_target(). */
int config_load(struct config *ret, int *argc, char **argv, char error[static CONFIG_ERROR_MAX]) _must_check_;

/* 0, or -EINVAL with one line in error when there is no target. */
int config_require_target(const struct config *config, char error[static CONFIG_ERROR_MAX]) _must_check_;

/* The table for people, within 80 columns. */
void config_print_help(FILE *out);

/* Names in the environment that begin with EBBFS_ and are not in the table: most likely typing errors. Calls back
 * with each. */
void config_unknown(void (*callback)(const char *name, void *arg), void *arg);

#endif
