/* Ownership by scope: cleanup attributes and the macros that take a value out of their hands.
 *
 * Every cleanup keeps errno and accepts what was never filled in (NULL, -1). Not here: cleanups of types that
 * belong to a module; those stand in the module's own header as DEFINE_CLEANUP(). */
#ifndef EBBFS_BASE_CLEANUP_H
#define EBBFS_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _must_check_ __attribute__((warn_unused_result))

/* Defines the cleanup FREE_FUNCTIONp() for pointers of a type that free_function() frees. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type in parentheses is no declaration */
#define DEFINE_CLEANUP(type, free_function)                                                                          \
	static inline void free_function##p(type *pointer)                                                           \
	{                                                                                                            \
		int saved_errno = errno;                                                                             \
		if (*pointer)                                                                                        \
			free_function(*pointer);                                                                     \
		errno = saved_errno;                                                                                 \
	}                                                                                                            \
	struct cleanup_needs_a_semicolon
/* NOLINTEND(bugprone-macro-parentheses) */

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(const int *fd)
{
	int saved_errno = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved_errno;
}

static inline void cleanup_closedir(DIR **dir)
{
	int saved_errno = errno;

	if (*dir)
		closedir(*dir);
	errno = saved_errno;
}

static inline void cleanup_fclose(FILE **file)
{
	int saved_errno = errno;

	if (*file)
		fclose(*file);
	errno = saved_errno;
}

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* The value, taken out of a variable that a cleanup watches. */
#define TAKE_PTR(pointer)                                                                                            \
	({                                                                                                           \
		__typeof__(pointer) taken_ = (pointer);                                                              \
		(pointer) = NULL;                                                                                    \
		taken_;                                                                                              \
	})
#define TAKE_FD(fd)                                                                                                  \
	({                                                                                                           \
		int taken_ = (fd);                                                                                   \
		(fd) = -1;                                                                                           \
		taken_;                                                                                              \
	})

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
