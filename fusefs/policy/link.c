/* The uploader's socket: one uploader at a time, who must be root, ourselves or EBBFS_UPLOADER_USER. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fusefs/policy/engine.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define UNPARK_BATCH 256

int engine_link_open(struct engine *engine)
{
	/* Anyone may connect; who is not the uploader is sent away by its credentials. */
	int fd = sock_listen(engine->config->run, "jobs", 0666);

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		close(fd);
		return -errno;
	}
	engine->listen_fd = fd;
	return 0;
}

static bool is_welcome(const struct engine *engine, int fd)
{
	struct ucred peer;

	if (sock_peer(fd, &peer) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid() || peer.uid == engine->config->uploader_uid;
}

void engine_link_accept(struct engine *engine)
{
	_cleanup_close_ int fd = accept4(engine->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!is_welcome(engine, fd)) {
		log_warning("a process that is not the uploader connected to the jobs socket: sent away");
		return;
	}
	if (engine->uploader_fd >= 0) {
		log_warning("a second uploader connected: sent away");
		return;
	}
	engine->uploader_fd = TAKE_FD(fd);
	engine->capacity = 0; /* until its hello */
}

void engine_link_close(struct engine *engine)
{
	if (engine->uploader_fd < 0)
		return;
	close(engine->uploader_fd);
	engine->uploader_fd = -1;
	engine->capacity = 0;
	atomic_store(&engine->counters.connected, false);
	engine_recall_flights(engine);
}

struct parked {
	int64_t now_ms;
	size_t count;
	uint64_t inos[UNPARK_BATCH];
};

static int note_parked(const struct journal_file *file, void *arg)
{
	struct parked *parked = arg;

	if (file->due_ms > parked->now_ms)
		parked->inos[parked->count++] = file->ino;
	return parked->count == UNPARK_BATCH;
}

static int unpark_batch(struct journal_txn *txn, void *arg)
{
	struct parked *parked = arg;

	parked->count = 0;
	int r = journal_each_parked(txn, note_parked, parked);

	for (size_t i = 0; r >= 0 && i < parked->count; i++) {
		struct journal_file file;

		r = journal_get_file(txn, parked->inos[i], &file);
		if (r == 0) {
			file.due_ms = 0;
			file.attempts = 0;
			r = journal_put_file(txn, &file);
		}
	}
	return r < 0 ? r : 0;
}

/* A new uploader may have other credentials, another endpoint: all that was parked is tried again. */
static int unpark(struct engine *engine)
{
	struct parked parked = {.now_ms = wall_ms(), .count = UNPARK_BATCH};
	int r = 0;

	while (r == 0 && parked.count == UNPARK_BATCH)
		r = journal_update(engine->journal, unpark_batch, &parked);
	return r;
}

static int on_hello(struct engine *engine, const void *bytes, size_t length)
{
	struct job_hello hello;
	int r = job_decode_hello(bytes, length, &hello);

	if (r < 0)
		return r;
	engine->capacity = hello.capacity;
	engine->pauses = 0;
	atomic_store(&engine->counters.connected, true);
	log_info("uploader connected, takes %u jobs", hello.capacity);
	return unpark(engine);
}

static int on_message(struct engine *engine, const void *bytes, size_t length, struct job_result *results, size_t *n)
{
	int type = job_decode_type(bytes, length);

	if (type == JOB_HELLO && engine->capacity == 0)
		return on_hello(engine, bytes, length);
	if (type != JOB_RESULT)
		return type < 0 ? type : -EBADMSG;
	int r = job_decode_result(bytes, length, &results[*n]);

	*n += r == 0;
	return r;
}

/* Takes what is there, at most ENGINE_RESULTS_MAX answers. 0 when there may be more, -EAGAIN when not, else why the
 * connection is to be closed (-EPIPE: the other side did). */
static int receive_some(struct engine *engine, char *bytes, struct job_result *results, size_t *n)
{
	while (*n < ENGINE_RESULTS_MAX) {
		int none = -1;
		size_t n_fds = 0;
		ssize_t length = sock_receive(engine->uploader_fd, bytes, JOB_MESSAGE_MAX, &none, 0, &n_fds);

		if (length <= 0)
			return length < 0 ? (int)length : -EPIPE;
		int r = on_message(engine, bytes, (size_t)length, results, n);

		if (r < 0)
			return r;
	}
	return 0;
}

void engine_link_receive(struct engine *engine)
{
	_cleanup_free_ char *bytes = malloc(JOB_MESSAGE_MAX);
	_cleanup_free_ struct job_result *results = calloc(ENGINE_RESULTS_MAX, sizeof(*results));
	int r = bytes && results ? 0 : -EAGAIN;

	while (r == 0) {
		size_t n = 0;

		r = receive_some(engine, bytes, results, &n);
		if (n)
			engine_on_results(engine, results, n);
		for (size_t i = 0; i < n; i++)
			job_result_done(&results[i]);
	}
	if (r == -EAGAIN)
		return;
	if (r == -EPIPE || r == -ECONNRESET)
		log_info("uploader is gone; %u jobs go back to the queue", engine->n_flights);
	else
		log_error("uploader: %s: connection closed", strerror(-r));
	engine_link_close(engine);
}

int engine_link_send(struct engine *engine, const struct job_request *request, int fd)
{
	_cleanup_buf_ struct buf message = {.max = JOB_MESSAGE_MAX};
	int r = job_encode_request(&message, request);

	return r < 0 ? r : sock_send(engine->uploader_fd, message.data, message.length, &fd, 1);
}
