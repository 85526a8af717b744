#include "fusefs/policy/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define PATIENCE_MS 5000 /* an earlier fusefs that dies, an anchor that starts */
#define RETRY_MS 20
#define ANSWER_MS 10000 /* the anchor may have to mount, and to clear away what was mounted */

int handover_say(int connection, enum handover_type type, uint32_t count, uint64_t id, const int *fds, size_t n_fds)
{
	const struct handover_message message = {
		.magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .type = type, .count = count, .id = id};

	return sock_send(connection, &message, sizeof(message), fds, n_fds);
}

int handover_hear(int connection, struct handover_message *ret, int *fds, size_t max_fds, size_t *ret_n_fds)
{
	ssize_t n = sock_receive(connection, ret, sizeof(*ret), fds, max_fds, ret_n_fds);

	if (n == 0 || n == -ECONNRESET)
		return 0;
	if (n < 0)
		return (int)n;
	if (n == sizeof(*ret) && ret->magic == HANDOVER_MAGIC && ret->version == HANDOVER_VERSION)
		return 1;
	for (size_t i = 0; i < *ret_n_fds; i++)
		close(fds[i]);
	return -EPROTO;
}

/* The same, waiting for it. */
static int wait_and_hear(
	int connection, struct handover_message *ret, int *fds, size_t max_fds, size_t *ret_n_fds, int64_t until_ms)
{
	for (;;) {
		int64_t left = until_ms - clock_ms();
		struct pollfd answer = {.fd = connection, .events = POLLIN};
		int r = handover_hear(connection, ret, fds, max_fds, ret_n_fds);

		if (r != -EAGAIN)
			return r ? r : -ECONNRESET;
		if (left <= 0 || poll(&answer, 1, (int)left) == 0)
			return -ETIMEDOUT;
	}
}

/* What there was before the anchor went is better than nothing. */
static void receive_pins(struct grant *grant, uint32_t count)
{
	int64_t until_ms = clock_ms() + ANSWER_MS;
	int r = 0;

	grant->pins = calloc(count ? count : 1, sizeof(*grant->pins));
	if (!grant->pins)
		r = -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < count; i++) {
		struct handover_message message;
		size_t n_fds = 0;
		int fd = -1;

		r = wait_and_hear(grant->connection, &message, &fd, 1, &n_fds, until_ms);
		if (r > 0 && (message.type != HANDOVER_PIN || n_fds != 1))
			r = -EPROTO;
		if (r > 0)
			grant->pins[grant->n_pins++] = (struct granted_pin){.node_id = message.id, .fd = fd};
		else if (n_fds)
			close(fd);
	}
	if (r >= 0)
		return;
	log_error("anchor: %s while it handed over %u files without a name; %zu came: going on with those",
		strerror(-r), count, grant->n_pins);
	cleanup_close(&grant->connection);
	grant->connection = -1;
}

static int ask_once(const char *run, struct grant *ret)
{
	_cleanup_close_ int connection = sock_try_connect(run, HANDOVER_SOCKET);
	struct grant grant = {.connection = connection, .fds = {-1, -1, -1}};
	struct handover_message message = {0};
	size_t n_fds = 0;
	struct stat st;

	if (connection < 0)
		return connection;
	int r = handover_say(connection, HANDOVER_ATTACH, 0, 0, NULL, 0);

	if (r == 0)
		r = wait_and_hear(connection, &message, grant.fds, HANDOVER_FDS, &n_fds, clock_ms() + ANSWER_MS);
	if (r < 0)
		return r;
	if (message.type != HANDOVER_GRANT || message.error || n_fds != HANDOVER_FDS) {
		grant.connection = -1;
		grant_done(&grant);
		return message.error > 0 ? -message.error : -EPROTO;
	}
	KILL_POINT("link: granted");
	TAKE_FD(connection);
	receive_pins(&grant, message.count);
	grant.resumed = fstat(grant.fds[HANDOVER_FD_STATE], &st) == 0 && st.st_size > 0;
	*ret = grant;
	return 0;
}

static bool may_pass(int error)
{
	return error == -EBUSY || error == -EAGAIN || error == -ENOENT || error == -ECONNREFUSED ||
	       error == -ECONNRESET || error == -EPIPE;
}

int attach(const char *run, struct grant *ret)
{
	int64_t until_ms = clock_ms() + PATIENCE_MS;

	for (;;) {
		int r = ask_once(run, ret);

		if (r == 0 || !may_pass(r) || clock_ms() >= until_ms)
			return r;
		(void)poll(NULL, 0, RETRY_MS);
	}
}

void grant_done(struct grant *grant)
{
	cleanup_close(&grant->connection);
	for (size_t i = 0; i < HANDOVER_FDS; i++)
		cleanup_close(&grant->fds[i]);
	for (size_t i = 0; i < grant->n_pins; i++)
		cleanup_close(&grant->pins[i].fd);
	free(grant->pins);
	*grant = (struct grant){.connection = -1, .fds = {-1, -1, -1}};
}
