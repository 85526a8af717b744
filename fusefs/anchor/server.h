/* The anchor's socket, inside: one poll loop (serve.c), who is connected (peers.c), what they may say (obey.c),
 * and how a mount appears (prove.c). Nothing in it blocks: a peer that says nothing within its deadline, or what is no
 * message of ours, is dropped, and holds up nobody. */
#ifndef EBBFS_ANCHOR_SERVER_H
#define EBBFS_ANCHOR_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fusefs/anchor/anchor.h"
#include "fusefs/anchor/countdown.h"

#define PEERS_MAX 8

enum peer_state {
	PEER_NEW,      /* has said nothing */
	PEER_WAITING,  /* wants to attach; it is not known yet what becomes of an orphaned mount */
	PEER_ATTACHED, /* one at most */
};

struct peer {
	int fd; /* -1: free */
	pid_t pid;
	enum peer_state state;
	int64_t deadline_ms;   /* PEER_NEW: for its first message; pins_due: for the last one */
	bool sending;          /* pins; nothing is read from it meanwhile */
	const struct pin *pin; /* sent last */
	uint32_t pins_due;     /* that belong to its HANDOVER_RETURN and are to come */
	bool serving;          /* and the mount can be seen */
	bool proving;          /* it said that it serves; whether the unseen mount answers is being asked */
};

struct server {
	struct anchor *anchor;
	int listen_fd, signal_fd;
	struct peer peers[PEERS_MAX];
	struct countdown countdown; /* counts while the mount is held or orphaned */
	bool lapsed;                /* it was said that nothing serves */
	bool pin_lost;              /* that was said as well */
	int probe_fd;               /* of an orphaned or unseen mount; -1: none is under way */
	int64_t next_probe_ms;
	unsigned int probes;
	int64_t next_alive_ms; /* of our own watchdog; INT64_MAX: nobody waits for it */
	bool stop;
	int error; /* ends the loop */
};

struct packet {
	struct handover_message message;
	int fds[HANDOVER_FDS]; /* -1: none; what is not taken is closed */
	size_t n_fds;
};

/* The one that is attached, or NULL. */
struct peer *peers_attached(struct server *server);
/* Accepts who waits at the socket. */
void peers_accept(struct server *server);
/* Reads what the peer said, some messages at a time, and does it. */
void peers_read(struct server *server, struct peer *peer);
/* Does what a message says (obey.c). */
void peers_obey(struct server *server, struct peer *peer, struct packet *packet);
/* The attached peer said that it is alive, or was found to be. */
void peers_heard(struct server *server, struct peer *peer);
/* It says that it serves: a mount that nobody sees is asked whether that is so, and appears if it answers (prove.c). */
void peers_prove(struct server *server, struct peer *peer);
/* That is known: 0 or -errno. */
void peers_proven(struct server *server, int r);
/* What is being asked of a mount is not of interest any more. */
void server_stop_probe(struct server *server);
/* Sends a message, at most one at a time; a peer that cannot take it is dropped. 0 or -errno. */
int peers_send(
	struct server *server, struct peer *peer, struct handover_message message, const int *fds, size_t n_fds);
/* Sends what is left of the pins. */
void peers_write(struct server *server, struct peer *peer);
/* Reads everything that is there from the attached peer: it may turn out to be gone. */
void peers_drain(struct server *server);
/* Ends the connection, for a reason that is logged (NULL: it is not). */
void peers_drop(struct server *server, struct peer *peer, const char *why);
/* The anchor is not orphaned any more: those who wait get their answer. */
void peers_answer_waiting(struct server *server);

#endif
