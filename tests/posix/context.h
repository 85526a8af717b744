/* What the commands of the comparison driver share: the context of one running sequence, and words of a line.
 *
 * A sequence is a list of lines, each one command with its words (README.md says the language). The driver runs every
 * sequence in a process and a directory of its own and prints what the kernel answered, in a form that is the same
 * wherever the kernel behaves the same: no absolute times, inode numbers or descriptors. Nothing here knows which
 * filesystem it runs on; tests/posix/run compares two such transcripts.
 *
 * One thread (cmd_load.c starts threads of its own and joins them). */
#ifndef EBBFS_TESTS_POSIX_CONTEXT_H
#define EBBFS_TESTS_POSIX_CONTEXT_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"

#define SLOTS_MAX 32
#define SLOT_NAME_MAX 16
#define WORDS_MAX 24
#define LINE_BYTES_MAX 4096 /* as written */
#define DATA_SHOWN_MAX 80   /* longer data is shown as length and hash */

/* A name of the sequence for something that is open: a descriptor, a directory stream, a mapping or a mark (a
 * remembered stat). Names are the sequence's own; an unknown one is made at its first use. */
struct slot {
	char name[SLOT_NAME_MAX];
	int fd; /* -1: none */
	DIR *dir;
	char *map;
	size_t map_bytes;
	struct stat mark;
	bool marked;
};

struct peer; /* another process of the sequence: peer.c */

struct context {
	FILE *notes; /* what the command in hand has to say beside its result */
	struct slot slots[SLOTS_MAX];
	struct peer *peers;
	const char *root; /* absolute path of the sequence's directory */
	bool bad;         /* the sequence itself is wrong (unknown word, setup failed): never a pass */
};

/* argv[0] is the command's name; words that were not given are NULL. Returns >= 0, or -1 with errno. */
struct command {
	const char *name;
	int words_min;
	long (*run)(struct context *context, char **argv);
	const char *usage;
};

/* Each table ends with a NULL name. */
extern const struct command cmd_file_commands[], cmd_io_commands[], cmd_name_commands[], cmd_attr_commands[],
	cmd_stat_commands[], cmd_dir_commands[], cmd_xattr_commands[], cmd_map_commands[], cmd_lock_commands[],
	cmd_proc_commands[], cmd_load_commands[];

/* Runs one line and prints its transcript to out (one line, or "!! …" when the sequence is wrong). */
void context_run_line(struct context *context, char *line, FILE *out);

/* Closes what a sequence left open. */
void context_done(struct context *context);

/* The sequence is wrong: says so in the transcript; the run counts it as failed on any filesystem. Returns -1 with
 * errno EINVAL, to be returned by the command. */
long context_bad(struct context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The slot of that name, made when there is none. Never NULL. */
struct slot *context_slot(struct context *context, const char *name);

/* The slot's descriptor (a directory stream's too), or -1: the system call then says EBADF. */
int context_fd(struct context *context, const char *name);

/* Puts fd into the slot; what was there is closed. fd may be -1. Returns 0, or -1 with errno as it was when fd < 0. */
long context_keep(struct context *context, const char *name, int fd);

/* "<slot>path" is path beneath the slot's descriptor, any other word is beneath the working directory. */
int context_at(struct context *context, const char *word, const char **ret_path);

/* A line's words, expanded: {TEXT*N} repetition, {fd:slot} a /proc/self/fd path, \n \s \\ \xHH, '' nothing.
 * Words are NUL-terminated and freed by words_free(). Returns the number of words or -1 (too many, no memory). */
int words_split(struct context *context, const char *line, char *ret_words[static WORDS_MAX + 1]);
void words_free(char **words);

/* One name and value of a table of flags; the table ends with a NULL name. */
struct flag {
	const char *name;
	long value;
};

/* "A|B|C" or a number; a word that the table does not have makes the sequence bad. NULL gives 0. */
long words_flags(struct context *context, const struct flag *table, const char *word);

/* A number in C's notation (0644 is octal), with K, M, G behind it. NULL gives fallback. */
long long words_number(struct context *context, const char *word, long long fallback);

/* Data to write: "#SEED:BYTES" is a pattern that tells its position, anything else is itself. Caller frees. */
char *words_data(struct context *context, const char *word, size_t *ret_bytes);
void words_pattern(char *buffer, size_t bytes, unsigned seed);

/* Appends data to the notes: quoted when short, else its length and hash. */
void words_show(FILE *out, const void *data, size_t bytes);

/* Other processes of the sequence (peer.c): "@name line" runs there and waits, "&name line" runs there, "join name"
 * collects. The process is forked at its first mention and has the descriptors of that moment. */
void peer_line(struct context *context, const char *name, const char *line, bool wait, FILE *out);
void peer_join(struct context *context, const char *name, FILE *out);
void peer_done(struct context *context);

#endif
