/* Tells a supervisor (`ebbfs run`, or systemd) that this process is ready and alive: the datagrams of sd_notify(3),
 * "READY=1" and "WATCHDOG=1", to the socket that $NOTIFY_SOCKET names, at least as often as $WATCHDOG_USEC says.
 * A process that is silent for longer is killed and started again. libc only.
 *
 * Threads: notify_init() before any; the others from one thread at a time. Nothing here blocks or fails: without a
 * supervisor they do nothing. */
#ifndef EBBFS_BASE_NOTIFY_H
#define EBBFS_BASE_NOTIFY_H

#include <stdint.h>

/* Reads the environment, keeps a socket, and takes the variables out of the environment. */
void notify_init(void);

/* Time in ms between two notify_alive() (half of what is allowed); 0: nobody waits for them. */
int64_t notify_interval_ms(void);

void notify_ready(void);
void notify_alive(void);

#endif
