/* How a new mount appears: not before it has answered, so that a fusefs which cannot serve hides nothing. */
#include <errno.h>
#include <string.h>

#include "fusefs/anchor/probe.h"
#include "fusefs/anchor/server.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

static void say_mounted(struct server *server, struct peer *peer)
{
	peers_heard(server, peer);
	(void)peers_send(server, peer, (struct handover_message){.type = HANDOVER_MOUNTED}, NULL, 0);
}

static void fail(struct server *server, struct peer *peer, int r)
{
	log_error("the new mount of fusefs pid=%d does not appear: %s", (int)peer->pid, strerror(-r));
	if (peers_send(server, peer, (struct handover_message){.type = HANDOVER_MOUNTED, .error = -r}, NULL, 0) == 0)
		peers_drop(server, peer, NULL);
}

void peers_prove(struct server *server, struct peer *peer)
{
	if (server->anchor->tree_fd < 0) {
		say_mounted(server, peer);
		return;
	}
	if (peer->proving)
		return;
	server_stop_probe(server); /* of a mount that was */
	peer->proving = true;
	int fd = probe_start(server->anchor->tree_fd, "");

	if (fd < 0)
		fail(server, peer, fd);
	else
		server->probe_fd = fd;
}

void peers_proven(struct server *server, int r)
{
	struct peer *peer = peers_attached(server);

	if (!peer || !peer->proving)
		return;
	peer->proving = false;
	if (r == 0)
		r = anchor_show(server->anchor);
	if (r < 0) {
		fail(server, peer, r);
		return;
	}
	countdown_start(&server->countdown, server->anchor->fail_open_ms, clock_ms());
	server->lapsed = false;
	say_mounted(server, peer);
}
