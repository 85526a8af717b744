/* The anchor's socket. One poll loop, nothing in it blocks: a peer that says nothing within its deadline, or what is
 * no message of ours, is dropped, and holds up nobody. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fusefs/anchor/anchor.h"
#include "fusefs/anchor/handover.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define PEERS_MAX 8
#define ATTACH_DEADLINE_MS 5000

struct peer {
	int fd; /* -1: free */
	pid_t pid;
	int64_t deadline_ms; /* for its ATTACH, clock_ms() */
	bool attached;
};

struct server {
	struct anchor *anchor;
	int listen_fd, signal_fd;
	struct peer peers[PEERS_MAX];
	bool stop;
};

static bool has_attached(const struct server *server)
{
	for (size_t i = 0; i < PEERS_MAX; i++) {
		if (server->peers[i].fd >= 0 && server->peers[i].attached)
			return true;
	}
	return false;
}

static void drop(struct server *server, struct peer *peer, const char *why)
{
	bool attached = peer->attached;

	if (why)
		log_at(attached ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "%s pid=%d: %s", attached ? "fusefs" : "peer",
			(int)peer->pid, why);
	close(TAKE_FD(peer->fd));
	peer->attached = false;
	if (attached)
		anchor_fusefs_gone(server->anchor);
}

/* A free place, or that of the peer that has been silent for longest: only one is ever attached. */
static struct peer *find_room(struct server *server)
{
	struct peer *oldest = NULL;

	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &server->peers[i];

		if (peer->fd < 0)
			return peer;
		if (!peer->attached && (!oldest || peer->deadline_ms < oldest->deadline_ms))
			oldest = peer;
	}
	drop(server, oldest, "made room for another");
	return oldest;
}

static void accept_peer(struct server *server)
{
	_cleanup_close_ int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred credentials;

	if (fd < 0)
		return;
	if (sock_peer(fd, &credentials) < 0)
		return;
	if (credentials.uid != 0 && credentials.uid != geteuid()) {
		log_warning("refused a connection of uid=%u pid=%d", credentials.uid, (int)credentials.pid);
		return;
	}

	struct peer *peer = find_room(server);

	*peer = (struct peer){
		.fd = TAKE_FD(fd), .pid = credentials.pid, .deadline_ms = clock_ms() + ATTACH_DEADLINE_MS};
}

static void grant(struct server *server, struct peer *peer, int error)
{
	struct anchor *anchor = server->anchor;
	struct handover_message answer = {
		.magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .type = HANDOVER_GRANT, .error = error};
	const int fds[HANDOVER_FDS] = {
		[HANDOVER_FD_BACKING] = anchor->backing_fd,
		[HANDOVER_FD_FUSE] = anchor->fuse_fd,
		[HANDOVER_FD_STATE] = anchor->state_fd,
	};
	int r = sock_send(peer->fd, &answer, sizeof(answer), fds, error ? 0 : HANDOVER_FDS);

	if (r < 0)
		drop(server, peer, strerror(-r));
	else if (error)
		drop(server, peer, "refused");
}

static void attach(struct server *server, struct peer *peer, const struct handover_message *message)
{
	int r = 0;

	if (message->version != HANDOVER_VERSION)
		r = -EPROTO;
	else if (has_attached(server))
		r = -EBUSY;
	if (r < 0)
		log_warning("refused to attach pid=%d: %s", (int)peer->pid,
			r == -EBUSY ? "another fusefs is attached" : "it speaks another version of the protocol");
	else
		r = anchor_mount(server->anchor);
	if (r == 0) {
		peer->attached = true;
		log_info("fusefs attached pid=%d", (int)peer->pid);
	}
	grant(server, peer, -r);
}

static void read_peer(struct server *server, struct peer *peer)
{
	struct handover_message message;
	ssize_t n = sock_receive(peer->fd, &message, sizeof(message), NULL, 0, NULL);

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET)
		drop(server, peer, "gone");
	else if (n != (ssize_t)sizeof(message) || message.magic != HANDOVER_MAGIC)
		drop(server, peer, "sent what is no message of the protocol");
	else if (message.type == HANDOVER_ATTACH && !peer->attached)
		attach(server, peer, &message);
	else if (message.type == HANDOVER_SERVING && peer->attached)
		log_info("fusefs serves pid=%d", (int)peer->pid);
	else
		/* A later fusefs may say more than this anchor knows. */
		log_debug("ignored a message type=%u pid=%d", message.type, (int)peer->pid);
}

static void read_signal(struct server *server)
{
	struct signalfd_siginfo info;

	if (read(server->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		server->stop = true;
}

/* Drops who is late. Returns how long poll() may wait, -1 for ever. */
static int check_deadlines(struct server *server)
{
	int64_t now = clock_ms(), next = INT64_MAX;

	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &server->peers[i];

		if (peer->fd < 0 || peer->attached)
			continue;
		if (peer->deadline_ms <= now)
			drop(server, peer, "did not attach in time");
		else if (peer->deadline_ms < next)
			next = peer->deadline_ms;
	}
	return next == INT64_MAX ? -1 : (int)(next - now);
}

static int serve_once(struct server *server)
{
	struct pollfd fds[PEERS_MAX + 2] = {
		[PEERS_MAX] = {.fd = server->listen_fd, .events = POLLIN},
		[PEERS_MAX + 1] = {.fd = server->signal_fd, .events = POLLIN},
	};
	int timeout_ms = check_deadlines(server);

	for (size_t i = 0; i < PEERS_MAX; i++)
		fds[i] = (struct pollfd){.fd = server->peers[i].fd, .events = POLLIN};
	if (poll(fds, ARRAY_SIZE(fds), timeout_ms) < 0)
		return errno == EINTR ? 0 : -errno;
	/* Peers before signals: a SIGTERM that follows the end of fusefs must find that it ended. */
	for (size_t i = 0; i < PEERS_MAX; i++) {
		if (fds[i].fd >= 0 && fds[i].revents)
			read_peer(server, &server->peers[i]);
	}
	if (fds[PEERS_MAX].revents)
		accept_peer(server);
	if (fds[PEERS_MAX + 1].revents)
		read_signal(server);
	return 0;
}

int anchor_serve(struct anchor *anchor, int signal_fd)
{
	_cleanup_close_ int listen_fd = sock_listen(anchor->run, HANDOVER_SOCKET, 0600);
	struct server server = {.anchor = anchor, .listen_fd = listen_fd, .signal_fd = signal_fd};
	int r = listen_fd < 0 ? listen_fd : 0;

	if (r < 0) {
		char quoted[LOG_QUOTE_MAX];

		log_error("cannot listen in %s: %s", log_quote(anchor->run, quoted), strerror(-r));
		return r;
	}
	for (size_t i = 0; i < PEERS_MAX; i++)
		server.peers[i].fd = -1;
	log_info("ready");
	while (r == 0 && !server.stop)
		r = serve_once(&server);
	if (r < 0)
		log_error("poll: %s", strerror(-r));
	if (has_attached(&server))
		log_info("ending; the attached fusefs keeps the mount");
	else if (r == 0)
		r = anchor_tidy(anchor);
	for (size_t i = 0; i < PEERS_MAX; i++)
		cleanup_close(&server.peers[i].fd);
	return r;
}
