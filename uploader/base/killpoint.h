/* Places where a test lets the process die: KILL_POINT("unlink: done, not recorded").
 *
 * Nothing at all unless built with -Dkill_points=true. Then $KILL_POINTS_FILE names a file of struct kill_points that
 * all processes of a test map: the one that passes the countdown-th point from when it was set gets SIGKILL there.
 * Any thread. */
#ifndef EBBFS_BASE_KILLPOINT_H
#define EBBFS_BASE_KILLPOINT_H

#include <stdint.h>

struct kill_points {
	int32_t countdown; /* 0: nobody dies; 1: at the next point */
	int32_t then;      /* the countdown after that death: for one more in the recovery; 0: none */
	uint32_t deaths;
	uint32_t passed;  /* points passed while countdown was set */
	char process[16]; /* only this one counts and dies ("ebbfs-fusefs"); "": any */
	char name[92];    /* of the point of the last death */
	int32_t how;      /* 0: SIGKILL; 1: the thread goes round in a loop for ever, with the locks that it holds */
};

_Static_assert(sizeof(struct kill_points) == 128, "the tests write it");

#ifdef EBBFS_KILL_POINTS
#define KILL_POINT(name) kill_point(name)
void kill_point(const char *name);
#else
#define KILL_POINT(name) ((void)0)
#endif

#endif
