/* Who is connected, and the way of messages. What they mean: obey.c. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fusefs/anchor/connection.h"
#include "fusefs/anchor/server.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define DEADLINE_MS 5000
#define READS_MAX 64
#define DRAIN_MAX 4096 /* more than a socket's buffer holds */

static void packet_done(struct packet *packet)
{
	for (size_t i = 0; i < HANDOVER_FDS; i++)
		cleanup_close(&packet->fds[i]);
}

struct peer *peers_attached(struct server *server)
{
	for (size_t i = 0; i < PEERS_MAX; i++) {
		if (server->peers[i].fd >= 0 && server->peers[i].state == PEER_ATTACHED)
			return &server->peers[i];
	}
	return NULL;
}

/* From here on nothing serves, until the next one does. */
static void fusefs_gone(struct server *server, pid_t pid)
{
	struct anchor *anchor = server->anchor;
	int64_t now_ms = clock_ms();

	countdown_gone(&server->countdown, now_ms);
	if (anchor->fuse_fd < 0)
		return;
	if (anchor->tree_fd >= 0) {
		log_warning("fusefs pid=%d did not come to serve: nothing was mounted", (int)pid);
		server_stop_probe(server);
		anchor_step_aside(anchor);
		return;
	}
	if (!connection_is_alive(anchor->fuse_fd)) {
		log_warning("the connection was ended by somebody else");
		anchor_step_aside(anchor);
		return;
	}
	log_warning("nothing serves since fusefs pid=%d ended: stepping aside in %" PRId64
		    " ms unless the next one does",
		(int)pid, countdown_end_ms(&server->countdown) - now_ms);
	server->lapsed = true;
}

void peers_drop(struct server *server, struct peer *peer, const char *why)
{
	bool attached = peer->state == PEER_ATTACHED;

	if (why)
		log_at(attached ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "%s pid=%d: %s", attached ? "fusefs" : "peer",
			(int)peer->pid, why);
	close(TAKE_FD(peer->fd));
	peer->state = PEER_NEW;
	if (attached)
		fusefs_gone(server, peer->pid);
}

/* A free place, or that of the peer that has been silent for longest: only one is ever attached. */
static struct peer *find_room(struct server *server)
{
	struct peer *oldest = NULL;

	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &server->peers[i];

		if (peer->fd < 0)
			return peer;
		if (peer->state == PEER_ATTACHED)
			continue;
		if (!oldest || peer->state < oldest->state ||
			(peer->state == oldest->state && peer->deadline_ms < oldest->deadline_ms))
			oldest = peer;
	}
	peers_drop(server, oldest, "made room for another");
	return oldest;
}

void peers_accept(struct server *server)
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

	*peer = (struct peer){.fd = TAKE_FD(fd), .pid = credentials.pid, .deadline_ms = clock_ms() + DEADLINE_MS};
}

int peers_send(
	struct server *server, struct peer *peer, struct handover_message message, const int *fds, size_t n_fds)
{
	message.magic = HANDOVER_MAGIC;
	message.version = HANDOVER_VERSION;
	int r = sock_send(peer->fd, &message, sizeof(message), fds, n_fds);

	if (r < 0)
		peers_drop(server, peer, strerror(-r));
	return r;
}

void peers_write(struct server *server, struct peer *peer)
{
	const struct pins *pins = &server->anchor->pins;

	for (const struct pin *pin; (pin = pins_next(pins, peer->pin)); peer->pin = pin) {
		struct handover_message message = {
			.magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .type = HANDOVER_PIN, .id = pin->id};
		int r = sock_send(peer->fd, &message, sizeof(message), &pin->fd, 1);

		if (r == -EAGAIN)
			return; /* poll() says when it takes more */
		if (r < 0) {
			peers_drop(server, peer, strerror(-r));
			return;
		}
		KILL_POINT("anchor: some pins granted");
	}
	peer->sending = false;
	peer->pin = NULL;
}

/* One message. Whether there may be more. */
static bool read_one(struct server *server, struct peer *peer)
{
	_cleanup_(packet_done) struct packet packet = {.fds = {-1, -1, -1}};
	ssize_t n = sock_receive(
		peer->fd, &packet.message, sizeof(packet.message), packet.fds, HANDOVER_FDS, &packet.n_fds);

	if (n < 0)
		memset(packet.fds, -1, sizeof(packet.fds)); /* whatever they were, they are closed */
	if (n == -EAGAIN)
		return false;
	/* Said once, of a peer that ended with our messages unread; what it had sent before is still there. */
	if (n == -ECONNRESET)
		return true;
	/* Out of descriptors: the message came without what it was about. */
	if (n == -EMSGSIZE && peer->state == PEER_ATTACHED && packet.message.magic == HANDOVER_MAGIC)
		n = (ssize_t)sizeof(packet.message);
	if (n == 0)
		peers_drop(server, peer, "gone");
	else if (n != (ssize_t)sizeof(packet.message) || packet.message.magic != HANDOVER_MAGIC)
		peers_drop(server, peer, "sent what is no message of the protocol");
	else
		peers_obey(server, peer, &packet);
	return peer->fd >= 0;
}

void peers_read(struct server *server, struct peer *peer)
{
	for (int i = 0; i < READS_MAX && peer->fd >= 0 && !peer->sending && read_one(server, peer); i++)
		;
}

void peers_drain(struct server *server)
{
	struct peer *peer = peers_attached(server);

	if (peer && peer->sending)
		peers_write(server, peer);
	for (int i = 0; peer && peer->fd >= 0 && i < DRAIN_MAX && !peer->sending && read_one(server, peer); i++)
		;
}
