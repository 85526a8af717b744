/* Which executable of a program to run: the one at its path, or, when that one refuses the state that the mount lives
 * by (EXIT_FOREIGN_STATE), the one that served before, even if its file was replaced since.
 *
 * One thread. Nothing here blocks for longer than a local file system takes to look up a name. */
#ifndef EBBFS_CLI_IMAGE_H
#define EBBFS_CLI_IMAGE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

/* A file's content, as far as stat(2) tells. */
struct image_id {
	uint64_t dev, ino, size;
	int64_t mtime_ns;
};

struct images {
	char path[PATH_MAX];
	int running;     /* O_PATH descriptor of what was started last; -1: none */
	int proven;      /* of what became ready last; -1: none */
	bool going_back; /* what was started last is `proven` */

	bool refuses; /* the file `refused` cannot go on with the state of the mount `refused_mount` */
	struct image_id refused;
	uint64_t refused_mount;
};

void images_init(struct images *images);
void images_done(struct images *images);

/* Decides what to start now, before fork(): `running`, which is `proven` only when the file at path is the refused one
 * and `mount` (image_mount_id()) is still the mount whose state it refused. 0, or -errno: there is no such file. */
int images_choose(struct images *images, uint64_t mount) _must_check_;

/* After fork(): becomes it. Returns -errno. */
int images_execute(const struct images *images, char *const argv[]);

/* What runs has become ready. */
void images_prove(struct images *images);

/* A process that runs the program since before this one: what it runs served before. */
void images_prove_pid(struct images *images, pid_t pid);

/* What ran refused the state of `mount`. Returns whether there is an earlier one to go back to. */
bool images_refuse(struct images *images, uint64_t mount);

/* Tells one mount at a path from the next; 0: unknown. Sends no request to the filesystem there. */
uint64_t image_mount_id(const char *path);

#endif
