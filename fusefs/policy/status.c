/* Answers questions at $EBBFS_RUN/status: read only, anyone on the machine, one after another, none for long. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fusefs/policy/ask.h"
#include "fusefs/policy/engine.h"
#include "uploader/base/log.h"
#include "uploader/base/sock.h"
#include "uploader/base/units.h"

#define PEER_TIMEOUT_S 2
#define LOOK_AT_MAX 10000 /* queue records that are looked at for the split into settling and queued */

int status_open(struct status_server *server, struct engine *engine)
{
	_cleanup_close_ int wake_fd = eventfd(0, EFD_CLOEXEC);
	int fd = wake_fd < 0 ? -errno : sock_listen(engine->config->run, ASK_SOCKET_STATUS, 0666);

	if (fd < 0)
		return fd;
	*server = (struct status_server){.engine = engine,
		.listen_fd = fd,
		.wake_fd = TAKE_FD(wake_fd),
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.peer_fd = -1};
	return 0;
}

struct summary {
	int64_t now_ms;
	struct journal_counts counts;
	int64_t oldest_ms; /* 0: nothing waits */
	uint64_t settling, looked_at;
};

static int count_settling(const struct journal_file *file, void *arg)
{
	struct summary *summary = arg;

	if (file->work == JOURNAL_WAITING && file->attempts == 0 && file->due_ms > summary->now_ms)
		summary->settling++;
	return ++summary->looked_at == LOOK_AT_MAX;
}

static int summarise(struct journal_txn *txn, void *arg)
{
	struct summary *summary = arg;
	uint64_t ino;
	int r = journal_get_counts(txn, &summary->counts);

	if (r < 0)
		return r;
	if (journal_oldest(txn, &summary->oldest_ms, &ino) < 0)
		summary->oldest_ms = 0;
	r = journal_each_due(txn, INT64_MAX, count_settling, summary);
	return r < 0 ? r : 0;
}

static json_t *seconds_since(int64_t then_ms, int64_t now_ms)
{
	return then_ms ? json_real((double)(now_ms - then_ms) / MSEC_PER_SEC) : json_null();
}

static json_t *disk(const struct engine *engine)
{
	struct statvfs st = {0};

	(void)fstatvfs(engine->backing_fd, &st);
	return json_pack("{sI sI sI sI}", "total", (json_int_t)(st.f_blocks * st.f_frsize), "free",
		(json_int_t)(st.f_bavail * st.f_frsize), "inodes_total", (json_int_t)st.f_files, "inodes_free",
		(json_int_t)st.f_favail);
}

static size_t events_waiting(struct engine *engine, char error[static JOB_TEXT_MAX], bool *ret_scanning)
{
	pthread_mutex_lock(&engine->lock);
	size_t n = engine->n_events + engine->n_held;

	memcpy(error, engine->last_error, JOB_TEXT_MAX);
	*ret_scanning = engine->scan_wanted || atomic_load(&engine->counters.scanning);
	pthread_mutex_unlock(&engine->lock);
	return n;
}

static json_t *files(struct engine *engine, const struct summary *summary, const struct fs_stats *fs, size_t n_events)
{
	struct engine_counters *c = &engine->counters;
	uint64_t uploading = atomic_load(&c->uploading), waiting = summary->counts.waiting;
	uint64_t settling = summary->settling, queued = waiting - (settling < waiting ? settling : waiting);

	queued -= uploading < queued ? uploading : queued;
	return json_pack("{sI sI sI sI sI sI sI sI sI sI sI}", "closed", (json_int_t)atomic_load(&c->closed), "dirty",
		(json_int_t)fs->writers, "settling", (json_int_t)(settling + n_events), "queued", (json_int_t)queued,
		"uploading", (json_int_t)uploading, "uploaded", (json_int_t)atomic_load(&c->uploaded), "present",
		(json_int_t)atomic_load(&c->present), "copied", (json_int_t)atomic_load(&c->copied), "parked",
		(json_int_t)summary->counts.parked, "known", (json_int_t)summary->counts.files, "proven",
		(json_int_t)summary->counts.proven);
}

static json_t *status(struct engine *engine)
{
	struct engine_counters *c = &engine->counters;
	struct summary summary = {.now_ms = wall_ms()};
	char error[JOB_TEXT_MAX];
	struct fs_stats fs = {0};
	bool scanning;

	/* In the order in which a file passes through: what moves on meanwhile is counted twice rather than never. */
	fs_get_stats(engine->fs, &fs);
	size_t n_events = events_waiting(engine, error, &scanning);

	int r = engine_view(engine, summarise, &summary);
	bool has_journal = r != -EAGAIN;

	if (r < 0 && has_journal)
		snprintf(error, sizeof(error), "the journal cannot be read");
	return json_pack("{si ss ss ss sb ss ss so so so ss so so so ss sI}", "version", 1, "state",
		fs.serving && atomic_load(&engine->mounted) && (has_journal || engine->resumed) ? "serving"
												: "starting",
		"mount", engine->config->data, "target", engine->config->target, "passthrough", fs.passthrough,
		"scan", scanning ? "running" : "done", "journal", has_journal ? "open" : "absent", "files",
		files(engine, &summary, &fs, n_events), "bytes",
		json_pack("{sI}", "uploaded", (json_int_t)atomic_load(&c->uploaded_bytes)), "oldest_waiting_seconds",
		seconds_since(summary.oldest_ms, summary.now_ms), "uploader",
		atomic_load(&c->connected) ? "connected" : "absent", "fuse",
		json_pack("{sI sI sI sI}", "read", (json_int_t)fs.read_requests, "write",
			(json_int_t)fs.write_requests, "nodes", (json_int_t)fs.nodes, "handles",
			(json_int_t)fs.handles),
		"disk", disk(engine), "s3",
		json_pack("{so so}", "last_success_seconds",
			seconds_since(atomic_load(&c->last_success_ms), summary.now_ms), "last_failure_seconds",
			seconds_since(atomic_load(&c->last_failure_ms), summary.now_ms)),
		"last_error", error, "dropped_events", (json_int_t)atomic_load(&c->dropped_events));
}

/* An answer on its way: JSON text gathered into packets. */
struct answer {
	int fd;
	struct buf text;
	int error;
};

static void flush_answer(struct answer *answer, size_t keep_below)
{
	size_t at = 0;

	if (answer->text.length < keep_below)
		return;
	while (!answer->error && at < answer->text.length) {
		size_t n = answer->text.length - at;

		n = n < ASK_CHUNK_BYTES ? n : ASK_CHUNK_BYTES;
		answer->error = sock_send(answer->fd, answer->text.data + at, n, NULL, 0);
		at += n;
	}
	buf_reset(&answer->text);
}

static void put_json(struct answer *answer, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	if (text)
		buf_put_text(&answer->text, text);
	else
		answer->error = -ENOMEM;
	free(text);
	json_decref(json);
}

static void begin_answer(struct answer *answer, int error)
{
	_cleanup_buf_ struct buf head = {0};

	buf_put_u32(&head, (uint32_t)error);
	answer->error = head.error ? head.error : sock_send(answer->fd, head.data, head.length, NULL, 0);
}

/* What is known of one name. */
struct asked {
	struct engine *engine;
	uint64_t dir;
	const char *path, *name;
	struct stat st;
	struct journal_entry entry;
	struct journal_file file;
	bool has_entry, has_file;
};

static int ask_journal(struct journal_txn *txn, void *arg)
{
	struct asked *asked = arg;

	asked->has_entry = journal_get_entry(txn, asked->dir, asked->name, &asked->entry) == 0 &&
			   asked->entry.ino == asked->st.st_ino;
	asked->has_file = journal_get_file(txn, asked->st.st_ino, &asked->file) == 0;
	return 0;
}

static const char *state_of(const struct asked *asked)
{
	const struct journal_file *file = &asked->file;

	if (S_ISDIR(asked->st.st_mode))
		return "dir";
	if (!S_ISREG(asked->st.st_mode))
		return "special";
	if (keys_excluded(&asked->engine->keys, asked->path))
		return "excluded";
	if (fs_has_writer(asked->engine->fs, asked->st.st_ino))
		return "dirty";
	if (!asked->has_entry || !asked->has_file)
		return "settling"; /* not recorded yet */
	if (file->work == JOURNAL_PARKED)
		return "parked";
	if (file->work == JOURNAL_IDLE)
		return asked->entry.proven_generation == file->generation ? "uploaded" : "settling";
	return file->attempts == 0 && file->due_ms > wall_ms() ? "settling" : "queued";
}

static json_t *describe(struct asked *asked)
{
	_cleanup_buf_ struct buf name = {0};
	char sha256[2 * JOB_SHA256_BYTES + 1] = "";
	const char *type = S_ISREG(asked->st.st_mode) ? "file" : S_ISDIR(asked->st.st_mode) ? "dir" : "special";

	if (engine_view(asked->engine, ask_journal, asked) < 0)
		asked->has_entry = asked->has_file = false;
	keys_escape(&name, asked->name);
	bool proven = asked->has_entry && asked->has_file && asked->entry.proven_generation &&
		      asked->entry.proven_generation == asked->file.proven_generation;

	if (proven && S_ISREG(asked->st.st_mode))
		hex_encode(asked->file.sha256, JOB_SHA256_BYTES, sha256);
	return json_pack("{ss ss ss sI sI ss ss ss}", "name", name.data ? name.data : "", "type", type, "state",
		state_of(asked), "size", (json_int_t)asked->st.st_size, "mtime_ns",
		(json_int_t)timespec_ns(asked->st.st_mtim), "key", proven ? asked->entry.key : "", "sha256", sha256,
		"reason", asked->has_file && S_ISREG(asked->st.st_mode) ? asked->file.reason : "");
}

static void put_entry(struct answer *answer, struct asked *asked, bool first)
{
	if (!first)
		buf_put_text(&answer->text, ",");
	put_json(answer, describe(asked));
	flush_answer(answer, ASK_CHUNK_BYTES);
}

static void list_directory(struct answer *answer, struct asked *asked, int dirfd, const char *path)
{
	_cleanup_closedir_ DIR *dir = fdopendir(dirfd);
	char below[ENGINE_PATH_MAX + JOURNAL_NAME_MAX + 2];
	const struct dirent *dent;
	bool first = true;

	if (!dir)
		close(dirfd);
	asked->dir = asked->st.st_ino;
	asked->path = below;
	while (dir && !answer->error && (dent = readdir(dir))) {
		if (!strcmp(dent->d_name, ".") || !strcmp(dent->d_name, "..") ||
			fstatat(dirfd, dent->d_name, &asked->st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", dent->d_name);
		asked->name = dent->d_name;
		put_entry(answer, asked, first);
		first = false;
	}
}

/* A path as it was typed: without slashes at its ends, and nothing that leads out. */
static int parent_of(const struct engine *engine, const char *path, struct asked *asked)
{
	const char *slash = strrchr(path, '/');
	char parent[ASK_PATH_MAX];
	struct stat st;

	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	asked->name = slash ? slash + 1 : path;
	_cleanup_close_ int dirfd = engine_open(engine, parent, O_PATH | O_DIRECTORY);
	if (dirfd < 0)
		return dirfd;
	if (fstat(dirfd, &st) < 0 || fstatat(dirfd, asked->name, &asked->st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	asked->dir = st.st_ino;
	return 0;
}

static void answer_list(struct answer *answer, struct engine *engine, char *path)
{
	struct asked asked = {.engine = engine, .path = path};
	size_t length = strlen(path);
	int dirfd = -1, r = 0;

	while (length && path[length - 1] == '/')
		path[--length] = '\0';
	if (*path)
		r = parent_of(engine, path, &asked);
	else if (fstat(engine->backing_fd, &asked.st) < 0)
		r = -errno;
	if (r == 0 && S_ISDIR(asked.st.st_mode))
		r = dirfd = engine_open(engine, path, O_RDONLY | O_DIRECTORY);
	begin_answer(answer, r < 0 ? -r : 0);
	if (r < 0)
		return;
	buf_put_text(&answer->text, "{\"entries\":[");
	if (dirfd >= 0)
		list_directory(answer, &asked, dirfd, path);
	else
		put_entry(answer, &asked, true);
	buf_put_text(&answer->text, "]}");
}

static void serve_peer(struct engine *engine, int fd)
{
	struct timeval timeout = {.tv_sec = PEER_TIMEOUT_S};
	_cleanup_free_ struct ask_request *request = calloc(1, sizeof(*request));
	char packet[ASK_REQUEST_MAX];
	struct answer answer = {.fd = fd};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	ssize_t n = sock_receive(fd, packet, sizeof(packet), NULL, 0, NULL);

	if (n <= 0 || !request)
		return;
	if (ask_decode(packet, (size_t)n, request) < 0) {
		begin_answer(&answer, EPROTO);
		return;
	}
	if (request->type == ASK_LIST) {
		answer_list(&answer, engine, request->path);
	} else {
		begin_answer(&answer, 0);
		put_json(&answer, status(engine));
	}
	flush_answer(&answer, 0);
	buf_done(&answer.text);
}

/* False when the server is ending. */
static bool set_peer(struct status_server *server, int fd)
{
	pthread_mutex_lock(&server->lock);
	server->peer_fd = fd;
	pthread_mutex_unlock(&server->lock);
	return !engine_is_stopping(server->engine);
}

void *status_thread(void *arg)
{
	struct status_server *server = arg;

	while (!engine_is_stopping(server->engine)) {
		struct pollfd fds[2] = {
			{.fd = server->listen_fd, .events = POLLIN}, {.fd = server->wake_fd, .events = POLLIN}};

		if (poll(fds, ARRAY_SIZE(fds), -1) <= 0 || !fds[0].revents)
			continue;
		_cleanup_close_ int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && set_peer(server, fd))
			serve_peer(server->engine, fd);
		(void)set_peer(server, -1);
	}
	return NULL;
}

void status_stop(struct status_server *server)
{
	const uint64_t one = 1;

	if (server->listen_fd < 0)
		return;
	ssize_t n = write(server->wake_fd, &one, sizeof(one));
	(void)n;
	pthread_mutex_lock(&server->lock);
	if (server->peer_fd >= 0)
		shutdown(server->peer_fd, SHUT_RDWR);
	pthread_mutex_unlock(&server->lock);
}

void status_done(struct status_server *server)
{
	cleanup_close(&server->listen_fd);
	cleanup_close(&server->wake_fd);
}
