/* The model of the kind "names": what every name in three directories must lead to. Shared by names*.c only. */
#ifndef EBBFS_TESTS_CRASH_NAMES_H
#define EBBFS_TESTS_CRASH_NAMES_H

#include <sys/stat.h>
#include <time.h>

#include "tests/crash/writer.h"

#define PARENTS 3
#define NAMES 12
#define XATTRS 3
#define HELD_MAX 8
#define FILE_BYTES_MAX 24576
#define PATH_BYTES 32

enum type {
	TYPE_FILE,
	TYPE_DIR,
	TYPE_SYMLINK,
	TYPE_FIFO,
};

/* An inode. Lives while it has a name or is held open. */
struct object {
	enum type type;
	unsigned int nlink; /* directories: 1 */
	unsigned int holders;
	mode_t mode;
	uint64_t seed;      /* of a file's content, a symlink's target, what is in a directory */
	size_t valid, size; /* pattern up to valid, zeros up to size */
	time_t mtime;       /* that was set; 0: whatever the last change made it */
	uint32_t xattrs[XATTRS];
	bool full; /* TYPE_DIR: a file "in" is in it */
};

/* A place for a name. */
struct place {
	struct object *object; /* NULL: no such name */
	char path[PATH_BYTES];
	unsigned int parent;
};

extern struct place places[PARENTS * NAMES];

struct place *random_place(void);

/* O_TMPFILE, linked at the place; -EEXIST there when the name is taken. */
void make_unnamed(struct place *at);

/* The name is gone: frees the object if that was the last that led to it. */
void drop_name(struct place *place);
void drop_object(struct object *object);

/* names_check.c: each looks through the mount, and ends the process if it is not as the model says. */
void check_stat(const struct object *object, const struct stat *st);
void check_content(const struct object *object, int fd);
void check_place(const struct place *place);
void check_listing(unsigned int parent);
void check_all(void);

/* names_held.c: open descriptors that steps come back to, also after the last name is gone. */
void held_open(struct place *place);
void held_step(void);
void held_done(void);
/* Changes a file's content through fd, opened with O_APPEND or not. */
void change_content(struct object *object, int fd, bool append);
void write_anew(struct object *object, int fd, bool append, size_t length);

/* names_check.c */
void xattr_step(struct place *place);
const char *link_target(const struct object *object);

#endif
