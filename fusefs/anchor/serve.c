#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fusefs/anchor/probe.h"
#include "fusefs/anchor/server.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/notify.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

/* While the mount counts on us, poll() ends this often: a longer pause than this was not ours (SIGSTOP, a frozen
 * container), and nobody could have been heard in it. */
#define STEP_MS 500
#define LATE_MS 250
/* How often to look whether an orphaned mount is dead: often at first, since its fusefs may be ending just now. */
#define PROBE_STEP_MS 100
#define PROBE_SLOW_STEP_MS 1000
#define PROBE_SLOW_AFTER 50
#define LAST_PROBE_MS 2000

static bool counts(const struct server *server)
{
	return server->anchor->fuse_fd >= 0 || server->anchor->orphaned;
}

/* ---- an orphaned mount */

void server_stop_probe(struct server *server)
{
	cleanup_close(&server->probe_fd);
	server->probe_fd = -1;
}

/* After anything that may have changed the orphaned state: 0 or -errno of what was tried. */
static void orphan_changed(struct server *server, int r)
{
	if (r < 0)
		server->error = r;
	else if (!server->anchor->orphaned) {
		server_stop_probe(server);
		peers_answer_waiting(server);
	}
}

static void ask_orphan(struct server *server, int64_t now_ms)
{
	server->next_probe_ms = now_ms + (server->probes < PROBE_SLOW_AFTER ? PROBE_STEP_MS : PROBE_SLOW_STEP_MS);
	orphan_changed(server, anchor_look(server->anchor));
	if (server->error || !server->anchor->orphaned || server->probe_fd >= 0)
		return;
	int fd = probe_start(AT_FDCWD, server->anchor->data);

	if (fd < 0)
		log_warning("cannot look whether the mount is dead: %s", strerror(-fd));
	else
		server->probe_fd = fd;
	server->probes++;
}

/* Returns whether the mount was found dead. */
static bool hear_probe(struct server *server)
{
	int r = probe_finish(server->probe_fd);

	if (r == -EAGAIN) /* another one, under the number of the one that poll() told of */
		return false;
	server_stop_probe(server);
	if (server->anchor->tree_fd >= 0) {
		peers_proven(server, r);
		return false;
	}
	if (!server->anchor->orphaned)
		return false;
	if (r == -ENOTCONN)
		orphan_changed(server, anchor_drop_dead(server->anchor));
	return r == -ENOTCONN;
}

/* A last look at the end: its fusefs may have ended just before, and a dead mount is ours to clear away. */
static void end_orphaned(struct server *server)
{
	bool again = server->probe_fd >= 0; /* its answer may be older than that end */

	while (!server->error && server->anchor->orphaned) {
		struct pollfd poll_fd = {.fd = server->probe_fd, .events = POLLIN};

		if (server->probe_fd < 0) {
			poll_fd.fd = server->probe_fd = probe_start(AT_FDCWD, server->anchor->data);
			if (server->probe_fd < 0)
				break;
		}
		if (poll(&poll_fd, 1, LAST_PROBE_MS) <= 0)
			break;
		if (!hear_probe(server) && !again)
			break;
		again = false;
	}
	if (server->anchor->orphaned)
		log_info("ending; the mount of an earlier anchor stays with its fusefs");
}

/* ---- time */

static void fail_open(struct server *server, int64_t now_ms)
{
	struct anchor *anchor = server->anchor;
	struct peer *peer = peers_attached(server);
	uint64_t id = anchor->fuse_top.id;
	int r = 0;

	if (anchor->tree_fd >= 0) {
		/* Nobody sees it: who does not come to serve is sent away, and it goes with that. */
		if (peer)
			peers_drop(server, peer, "given up");
		return;
	}
	if (anchor->orphaned)
		log_warning("nobody returned the mount of an earlier anchor for %" PRId64 " ms: stepping aside",
			now_ms - server->countdown.served_ms);
	else
		log_warning("nothing has served for %" PRId64 " ms: stepping aside",
			now_ms - server->countdown.served_ms);
	KILL_POINT("anchor: stepping aside");
	anchor_step_aside(anchor);
	if (peer)
		peers_drop(server, peer, "given up");
	server->lapsed = false;
	if (!anchor->orphaned)
		return;
	r = anchor_look(anchor);
	if (r == 0 && anchor->orphaned && anchor->fuse_top.id == id)
		log_error("the mount cannot be taken down; trying again");
	/* Another one under it, or the same that cannot be taken down: the time begins anew. */
	countdown_start(&server->countdown, anchor->fail_open_ms, now_ms);
	orphan_changed(server, r);
}

static void check_silence(struct server *server, int64_t now_ms)
{
	const struct peer *peer = peers_attached(server);

	if (!peer || !peer->serving || server->lapsed || countdown_is_served(&server->countdown, now_ms))
		return;
	log_warning("nothing serves since fusefs pid=%d fell silent %" PRId64 " ms ago: stepping aside in %" PRId64
		    " ms unless it goes on",
		(int)peer->pid, now_ms - server->countdown.alive_ms, countdown_end_ms(&server->countdown) - now_ms);
	server->lapsed = true;
}

static void check_peers(struct server *server, int64_t now_ms)
{
	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &server->peers[i];

		if (peer->fd < 0 || peer->deadline_ms > now_ms)
			continue;
		if (peer->state == PEER_NEW)
			peers_drop(server, peer, "did not attach in time");
		else if (peer->pins_due > 0)
			peers_drop(server, peer, "did not return all that it said");
	}
}

/* Does what is due. `quiet`: everything that was said before now was heard. */
static void tick(struct server *server, bool quiet)
{
	int64_t now_ms = clock_ms();

	check_peers(server, now_ms);
	if (server->anchor->orphaned && now_ms >= server->next_probe_ms)
		ask_orphan(server, now_ms);
	if (counts(server)) {
		check_silence(server, now_ms);
		if (quiet && now_ms >= countdown_end_ms(&server->countdown))
			fail_open(server, now_ms);
	}
	if (now_ms >= server->next_alive_ms) {
		notify_alive();
		server->next_alive_ms = now_ms + notify_interval_ms();
	}
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* How long poll() may wait, -1 for ever. */
static int next_timeout_ms(const struct server *server)
{
	int64_t now_ms = clock_ms(), next_ms = server->next_alive_ms;

	for (size_t i = 0; i < PEERS_MAX; i++) {
		const struct peer *peer = &server->peers[i];

		if (peer->fd >= 0 && (peer->state == PEER_NEW || peer->pins_due > 0))
			next_ms = sooner(next_ms, peer->deadline_ms);
	}
	if (counts(server))
		next_ms = sooner(next_ms, sooner(now_ms + STEP_MS, countdown_end_ms(&server->countdown)));
	if (server->anchor->orphaned)
		next_ms = sooner(next_ms, server->next_probe_ms);
	if (next_ms == INT64_MAX)
		return -1;
	return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

/* ---- the loop */

enum { POLL_LISTEN = PEERS_MAX, POLL_SIGNAL, POLL_PROBE, POLL_ALL };

static int wait_for_work(struct server *server, struct pollfd fds[static POLL_ALL])
{
	int timeout_ms = next_timeout_ms(server);
	int64_t before_ms = clock_ms();

	for (size_t i = 0; i < PEERS_MAX; i++)
		fds[i] = (struct pollfd){
			.fd = server->peers[i].fd, .events = server->peers[i].sending ? POLLOUT : POLLIN};
	fds[POLL_LISTEN] = (struct pollfd){.fd = server->listen_fd, .events = POLLIN};
	fds[POLL_SIGNAL] = (struct pollfd){.fd = server->signal_fd, .events = POLLIN};
	fds[POLL_PROBE] = (struct pollfd){.fd = server->probe_fd, .events = POLLIN};
	int n = poll(fds, POLL_ALL, timeout_ms);

	if (n < 0)
		return -errno;
	int64_t late_ms = clock_ms() - before_ms - timeout_ms;

	if (timeout_ms >= 0 && counts(server) && late_ms > LATE_MS) {
		log_warning("did not run for %" PRId64 " ms; they do not count", late_ms);
		countdown_skip(&server->countdown, late_ms);
	}
	return n;
}

static void serve_peer(struct server *server, struct peer *peer)
{
	if (peer->sending)
		peers_write(server, peer);
	else
		peers_read(server, peer);
}

static void serve_once(struct server *server)
{
	struct pollfd fds[POLL_ALL];
	int n = wait_for_work(server, fds);

	if (n < 0) {
		if (n != -EINTR) {
			log_error("poll: %s", strerror(-n));
			server->error = n;
		}
		return;
	}
	/* Peers before signals: a SIGTERM that follows the end of fusefs must find that it ended. */
	for (size_t i = 0; i < PEERS_MAX; i++) {
		if (fds[i].fd >= 0 && fds[i].fd == server->peers[i].fd && fds[i].revents)
			serve_peer(server, &server->peers[i]);
	}
	if (fds[POLL_LISTEN].revents)
		peers_accept(server);
	if (fds[POLL_PROBE].revents && server->probe_fd == fds[POLL_PROBE].fd)
		(void)hear_probe(server);
	if (fds[POLL_SIGNAL].revents) {
		struct signalfd_siginfo info;

		server->stop = read(server->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info);
	}
	tick(server, n == 0);
}

static int end(struct server *server)
{
	peers_drain(server);
	if (peers_attached(server) && server->anchor->tree_fd < 0) {
		log_info("ending; the attached fusefs keeps the mount");
		return 0;
	}
	end_orphaned(server);
	return server->anchor->orphaned ? 0 : anchor_tidy(server->anchor);
}

int anchor_serve(struct anchor *anchor, int signal_fd)
{
	_cleanup_close_ int listen_fd = sock_listen(anchor->run, HANDOVER_SOCKET, 0600);
	struct server server = {.anchor = anchor,
		.listen_fd = listen_fd,
		.signal_fd = signal_fd,
		.probe_fd = -1,
		.next_alive_ms = notify_interval_ms() > 0 ? 0 : INT64_MAX};

	if (listen_fd < 0)
		return anchor_complain("cannot listen in", anchor->run, listen_fd, NULL);
	for (size_t i = 0; i < PEERS_MAX; i++)
		server.peers[i].fd = -1;
	countdown_start(&server.countdown, anchor->fail_open_ms, clock_ms());
	log_info("ready");
	notify_ready();
	if (anchor->orphaned)
		log_warning("a mount of an earlier anchor is there: its fusefs has %" PRId64 " ms to return it",
			anchor->fail_open_ms);
	while (!server.error && !server.stop)
		serve_once(&server);
	int r = server.error ? server.error : end(&server);

	for (size_t i = 0; i < PEERS_MAX; i++)
		cleanup_close(&server.peers[i].fd);
	server_stop_probe(&server);
	return r;
}
