/* What the messages of peers mean. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fusefs/anchor/server.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define RETURN_DEADLINE_MS 5000

static void refuse(struct server *server, struct peer *peer, enum handover_type type, int r)
{
	const char *what = type == HANDOVER_GRANT ? "refused to attach" : "refused what was returned by";
	const char *why = strerror(-r);

	if (r == -EBUSY)
		why = "another fusefs is attached";
	else if (r == -EPROTO)
		why = "it speaks another version of the protocol";
	else if (r == -ESTALE)
		why = "it is not of the mount that is there";
	log_warning("%s pid=%d: %s", what, (int)peer->pid, why);
	if (peers_send(server, peer, (struct handover_message){.type = type, .error = -r}, NULL, 0) == 0)
		peers_drop(server, peer, NULL);
}

static void grant(struct server *server, struct peer *peer)
{
	const struct anchor *anchor = server->anchor;
	const int fds[HANDOVER_FDS] = {
		[HANDOVER_FD_BACKING] = anchor->backing_fd,
		[HANDOVER_FD_FUSE] = anchor->fuse_fd,
		[HANDOVER_FD_STATE] = anchor->state_fd,
	};
	struct handover_message message = {.type = HANDOVER_GRANT, .count = (uint32_t)anchor->pins.count};

	peer->state = PEER_ATTACHED;
	log_info("fusefs attached pid=%d pins=%zu", (int)peer->pid, anchor->pins.count);
	if (peers_send(server, peer, message, fds, HANDOVER_FDS) < 0)
		return;
	KILL_POINT("anchor: granted");
	peer->sending = true;
	peers_write(server, peer);
}

static void attach(struct server *server, struct peer *peer)
{
	/* The end of one that died may wait behind this: it comes first, as it did in time. */
	peers_drain(server);
	if (peers_attached(server)) {
		refuse(server, peer, HANDOVER_GRANT, -EBUSY);
		return;
	}
	if (server->anchor->orphaned) {
		log_info("fusefs pid=%d waits: a mount of an earlier anchor is there", (int)peer->pid);
		peer->state = PEER_WAITING;
		return;
	}
	int r = anchor_make(server->anchor);

	if (r < 0) {
		refuse(server, peer, HANDOVER_GRANT, r);
		return;
	}
	if (r > 0) {
		countdown_start(&server->countdown, server->anchor->fail_open_ms, clock_ms());
		server->lapsed = false;
	}
	grant(server, peer);
}

static void take_return(struct server *server, struct peer *peer, struct packet *packet)
{
	int r;

	peers_drain(server);
	if (packet->message.version != HANDOVER_VERSION)
		r = -EPROTO;
	else if (peers_attached(server))
		r = -EBUSY;
	else if (packet->n_fds != HANDOVER_FDS)
		r = -EINVAL;
	else
		r = anchor_return(server->anchor, packet->fds);
	if (r < 0) {
		refuse(server, peer, HANDOVER_TAKEN, r);
		return;
	}
	peer->state = PEER_ATTACHED;
	peer->serving = true;
	peer->pins_due = packet->message.count;
	peer->deadline_ms = clock_ms() + RETURN_DEADLINE_MS;
	countdown_start(&server->countdown, server->anchor->fail_open_ms, clock_ms());
	countdown_heard(&server->countdown, clock_ms());
	server->lapsed = false;
	log_info("took the mount back from fusefs pid=%d pins=%u", (int)peer->pid, peer->pins_due);
	peers_answer_waiting(server);
}

/* The last pin of a return is there. */
static void say_taken(struct server *server, struct peer *peer)
{
	KILL_POINT("anchor: taken, not said");
	(void)peers_send(server, peer, (struct handover_message){.type = HANDOVER_TAKEN}, NULL, 0);
}

static void keep_pin(struct server *server, struct peer *peer, struct packet *packet)
{
	int r = packet->n_fds == 1 && packet->message.id != 0 ? 0 : -EMFILE;

	KILL_POINT("anchor: pin received");
	if (r == 0)
		r = pins_put(&server->anchor->pins, packet->message.id, TAKE_FD(packet->fds[0]));
	KILL_POINT("anchor: pin kept");
	if (r < 0 && !server->pin_lost) {
		log_warning(
			"cannot keep a descriptor for fusefs: %s: files that are open without a name may be lost if "
			"it dies; raise the limit of open files",
			strerror(-r));
		server->pin_lost = true;
	}
	if (peer->pins_due == 0)
		return;
	peer->pins_due--;
	if (peer->pins_due == 0)
		say_taken(server, peer);
}

static void drop_pin(struct server *server, uint64_t id)
{
	if (id)
		pins_drop(&server->anchor->pins, id);
	else
		pins_clear(&server->anchor->pins);
}

void peers_heard(struct server *server, struct peer *peer)
{
	struct countdown *countdown = &server->countdown;
	int64_t now_ms = clock_ms(), gap_ms = now_ms - countdown->served_ms;
	bool was_served = peer->serving && countdown_is_served(countdown, now_ms);

	peer->serving = true;
	countdown_heard(countdown, now_ms);
	if (!was_served && server->lapsed)
		log_info("fusefs serves again after %" PRId64 " ms pid=%d", gap_ms, (int)peer->pid);
	else if (!was_served)
		log_info("fusefs serves pid=%d", (int)peer->pid);
	if (countdown->served_ms == now_ms)
		server->lapsed = false;
}

static void obey_attached(struct server *server, struct peer *peer, struct packet *packet)
{
	switch (packet->message.type) {
	case HANDOVER_SERVING:
		peers_prove(server, peer);
		break;
	case HANDOVER_ALIVE:
		if (peer->serving)
			peers_heard(server, peer);
		break;
	case HANDOVER_PIN:
		keep_pin(server, peer, packet);
		break;
	case HANDOVER_UNPIN:
		drop_pin(server, packet->message.id);
		break;
	default:
		/* A later fusefs may say more than this anchor knows. */
		log_debug("ignored a message type=%u pid=%d", packet->message.type, (int)peer->pid);
	}
}

void peers_obey(struct server *server, struct peer *peer, struct packet *packet)
{
	const struct handover_message *message = &packet->message;

	if (peer->state == PEER_ATTACHED)
		obey_attached(server, peer, packet);
	else if (message->type == HANDOVER_ATTACH && message->version != HANDOVER_VERSION)
		refuse(server, peer, HANDOVER_GRANT, -EPROTO);
	else if (message->type == HANDOVER_ATTACH && peer->state == PEER_NEW)
		attach(server, peer);
	else if (message->type == HANDOVER_RETURN && peer->state == PEER_NEW) {
		take_return(server, peer, packet);
		if (peer->fd >= 0 && peer->pins_due == 0)
			say_taken(server, peer);
	} else
		log_debug("ignored a message type=%u pid=%d", message->type, (int)peer->pid);
}

void peers_answer_waiting(struct server *server)
{
	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &server->peers[i];

		if (peer->fd >= 0 && peer->state == PEER_WAITING)
			attach(server, peer);
	}
}
