/* From records that are due to jobs: which name, which key, copy or upload, and whether now is a good moment. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/policy/engine.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define BUSY_RETRY_MS 1000        /* a writer or a writable mapping is there: look again */
#define UNKNOWN_DIR_RETRY_MS 2000 /* the scan is to find the directory first */
#define PARK_RETRY_MS (30 * MSEC_PER_SEC)
#define IDLE_POLL_MS 10000
#define SEND_RETRY_MS 50
#define KEY_PATIENCE_MS (5 * MSEC_PER_SEC)

/* One file that is due, with the name that is to be worked on. */
struct candidate {
	struct journal_file file;
	struct journal_entry entry;
	char path[ENGINE_PATH_MAX];
	char key[JOB_KEY_MAX + 1];
	char source[JOB_KEY_MAX + 1]; /* where the same content is already, "" for nowhere */
	char source_version[JOB_VERSION_ID_MAX + 1];
};

enum verdict {
	VERDICT_DONE,     /* every name is satisfied */
	VERDICT_POSTPONE, /* not now */
	VERDICT_PARK,
	VERDICT_DROP_NAME, /* the name is not there any more */
	VERDICT_AGAIN,     /* the name is another file's: compare again */
	VERDICT_UNCHANGED, /* opened for writing, and nothing came of it */
	VERDICT_TAKE_KEY,  /* whose object it was does without: it is uploaded again */
};

struct decision {
	enum verdict verdict;
	uint64_t ino, dir;
	int64_t delay_ms;
	char name[JOURNAL_NAME_MAX + 1];
	char reason[JOURNAL_REASON_MAX];
	char key[JOB_KEY_MAX + 1]; /* VERDICT_TAKE_KEY */
};

struct round {
	struct engine *engine;
	struct journal_txn *txn;
	struct candidate *candidates;
	struct decision *decisions;
	size_t n_candidates, max_candidates, n_decisions, max_decisions;
	int64_t now_ms;
	int64_t again_ms; /* how long until there is something to look at again */
};

static struct decision *decide(struct round *round, enum verdict verdict, uint64_t ino, int64_t delay_ms)
{
	struct decision *decision = &round->decisions[round->n_decisions++];

	*decision = (struct decision){.verdict = verdict, .ino = ino, .delay_ms = delay_ms};
	if (verdict == VERDICT_UNCHANGED || verdict == VERDICT_TAKE_KEY)
		delay_ms = 0;
	else if (verdict == VERDICT_DROP_NAME || verdict == VERDICT_AGAIN)
		delay_ms = BUSY_RETRY_MS;
	if (verdict != VERDICT_DONE && verdict != VERDICT_PARK && delay_ms < round->again_ms)
		round->again_ms = delay_ms;
	return decision;
}

static int64_t mtime_at(const struct engine *engine, const char *path)
{
	struct stat st;

	if (!engine->keys.dated || fstatat(engine->backing_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return timespec_ns(st.st_mtim);
}

/* What looking at a file's names came to. */
struct choice {
	struct round *round;
	const struct journal_file *file;
	struct candidate *candidate;
	bool found;
	int error; /* of a name that could not be served: -ENOENT, -ENAMETOOLONG, … */
};

static int consider_name(const struct journal_entry *entry, void *arg)
{
	struct choice *choice = arg;
	struct engine *engine = choice->round->engine;
	struct candidate *candidate = choice->candidate;
	char path[ENGINE_PATH_MAX], key[JOB_KEY_MAX + 1];
	bool proven = entry->key[0] && entry->proven_generation == choice->file->generation;

	if (entry->type != JOURNAL_TYPE_FILE) /* of a directory that had the number before */
		return 0;
	int r = engine_path(engine, choice->round->txn, entry->dir, entry->name, path);

	if (r == 0 && keys_excluded(&engine->keys, path))
		return 0;
	if (r == 0)
		r = keys_make(&engine->keys, path, mtime_at(engine, path), key);
	if (r < 0) {
		choice->error = r;
		return 0;
	}
	if (proven) {
		snprintf(candidate->source, sizeof(candidate->source), "%s", entry->key);
		snprintf(candidate->source_version, sizeof(candidate->source_version), "%s", entry->version_id);
	}
	if ((proven && !strcmp(entry->key, key)) || choice->found)
		return 0;
	choice->found = true;
	candidate->file = *choice->file;
	candidate->entry = *entry;
	memcpy(candidate->path, path, sizeof(path));
	memcpy(candidate->key, key, sizeof(key));
	return 0;
}

static void park_or_wait(struct round *round, uint64_t ino, int error)
{
	if (error == -ENOENT) {
		engine_want_scan(round->engine);
		decide(round, VERDICT_POSTPONE, ino, UNKNOWN_DIR_RETRY_MS);
		return;
	}
	struct decision *decision = decide(round, VERDICT_PARK, ino, PARK_RETRY_MS * 20);

	snprintf(decision->reason, sizeof(decision->reason),
		error == -ENAMETOOLONG ? "its key would be longer than the 1,024 bytes that S3 takes: move it up or "
					 "shorten the names"
				       : "its path cannot be made into a key: %s",
		strerror(-error));
}

static int consider_file(const struct journal_file *file, void *arg)
{
	struct round *round = arg;
	struct candidate *candidate = &round->candidates[round->n_candidates];
	struct choice choice = {.round = round, .file = file, .candidate = candidate};

	if (file->due_ms > round->now_ms) {
		if (file->due_ms - round->now_ms < round->again_ms)
			round->again_ms = file->due_ms - round->now_ms;
		return 1;
	}
	if (engine_is_in_flight(round->engine, file->ino))
		return 0;
	candidate->source[0] = '\0';
	int r = journal_each_name(round->txn, file->ino, consider_name, &choice);

	if (r < 0)
		return r;
	if (choice.found)
		round->n_candidates++;
	else if (choice.error)
		park_or_wait(round, file->ino, choice.error);
	else
		decide(round, VERDICT_DONE, file->ino, 0);
	if (round->n_decisions + round->n_candidates == round->max_decisions)
		round->again_ms = 0;
	return !round->again_ms || round->n_candidates == round->max_candidates;
}

static int collect(struct journal_txn *txn, void *arg)
{
	struct round *round = arg;

	round->txn = txn;
	int r = journal_each_due(txn, round->now_ms + round->again_ms, consider_file, round);

	return r < 0 ? r : 0;
}

static int is_other_file(const struct journal_entry *owner, void *arg)
{
	const struct candidate *candidate = arg;

	return owner->ino != candidate->file.ino;
}

/* The key is still what another file's receipt relies on: a file that moved away and waits for its own copy. */
static int key_is_relied_on(struct journal_txn *txn, void *arg)
{
	return journal_each_with_key(txn, ((const struct candidate *)arg)->key, is_other_file, arg);
}

/* The other one's copy comes first, so that its content is never without an object. Two that changed places wait for
 * each other: the first to lose patience takes the key, the other one is uploaded from its local bytes. */
static void wait_for_key(struct round *round, const struct candidate *candidate)
{
	bool patient = round->now_ms - candidate->file.since_ms < KEY_PATIENCE_MS + round->engine->config->settle_ms;
	struct decision *decision =
		decide(round, patient ? VERDICT_POSTPONE : VERDICT_TAKE_KEY, candidate->file.ino, BUSY_RETRY_MS);

	memcpy(decision->key, candidate->key, sizeof(decision->key));
}

/* A writer whom we did not see, or a mapping that outlived its descriptor (a lease says so: fcntl(2)). Filesystems
 * without leases cannot tell. The lease is given back at once: held, it would block the next open. */
static bool is_being_written(struct engine *engine, uint64_t ino, int fd)
{
	if (fs_has_writer(engine->fs, ino))
		return true;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return errno == EAGAIN;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

static int64_t birth_of(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0 || !(stx.stx_mask & STATX_BTIME))
		return 0;
	return stx.stx_btime.tv_sec * NSEC_PER_SEC + stx.stx_btime.tv_nsec;
}

/* Opens without touching the access time, which is the application's business. */
static int open_to_read(const struct engine *engine, const char *path)
{
	int fd = engine_open(engine, path, O_RDONLY | O_NOATIME);

	return fd == -EPERM ? engine_open(engine, path, O_RDONLY) : fd;
}

/* The receipt is about exactly this state of the inode. A receipt's ctime is 0 if it could not be trusted (results.c).
 * Called after the check for writers. */
static bool is_unchanged(const struct journal_file *file, const struct stat *st)
{
	return file->proven_generation && file->proven_generation != file->generation && file->ctime_ns &&
	       file->size == (uint64_t)st->st_size && file->mtime_ns == timespec_ns(st->st_mtim) &&
	       file->ctime_ns == timespec_ns(st->st_ctim);
}

/* 0 with an open file, or what to do about it in a decision and -EAGAIN. */
static int open_candidate(struct round *round, const struct candidate *candidate, struct stat *st, int64_t *birth_ns)
{
	struct engine *engine = round->engine;
	uint64_t ino = candidate->file.ino;
	_cleanup_close_ int fd = open_to_read(engine, candidate->path);
	struct decision *decision = NULL;

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) {
		decision = decide(round, VERDICT_DROP_NAME, ino, 0);
	} else if (fd < 0) {
		decision = decide(round, VERDICT_PARK, ino, PARK_RETRY_MS);
		snprintf(decision->reason, sizeof(decision->reason), "cannot be opened: %s", strerror(-fd));
	} else if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode) || st->st_ino != ino) {
		decision = decide(round, VERDICT_AGAIN, ino, 0);
	} else if (is_being_written(engine, ino, fd)) {
		decision = decide(round, VERDICT_POSTPONE, ino, BUSY_RETRY_MS);
	} else if (is_unchanged(&candidate->file, st)) {
		decision = decide(round, VERDICT_UNCHANGED, ino, 0);
	}
	if (decision) {
		decision->dir = candidate->entry.dir;
		snprintf(decision->name, sizeof(decision->name), "%s", candidate->entry.name);
		return -EAGAIN;
	}
	*birth_ns = birth_of(fd);
	return TAKE_FD(fd);
}

/* An attempt may have got through whose result did not. */
static bool may_be_there(const struct engine *engine, const struct journal_file *file)
{
	return file->flags & JOURNAL_CHECK_FIRST || file->attempts || file->since_ms < engine->lost_before_ms;
}

static void fill_request(struct engine *engine, const struct candidate *candidate, const struct stat *st,
	int64_t birth_ns, struct job_request *request)
{
	const struct journal_file *file = &candidate->file;
	bool same_file = !file->birth_ns || !birth_ns || file->birth_ns == birth_ns;
	/* The digests are about the content that is there now only if nothing of it moved since. */
	bool current = same_file && file->proven_generation && file->proven_generation == file->generation &&
		       file->size == (uint64_t)st->st_size && file->mtime_ns == timespec_ns(st->st_mtim);
	/* Bytes that turn out to be those that are there already are not sent again. */
	bool known =
		same_file && file->proven_generation && candidate->entry.proven_generation == file->proven_generation;

	request->id = ++engine->last_job_id;
	request->kind = current && candidate->source[0] && strcmp(candidate->source, candidate->key) != 0
				? JOB_KIND_COPY
				: JOB_KIND_PUT;
	request->flags = engine->ask_first || may_be_there(engine, file) ? JOB_CHECK_FIRST : 0;
	request->size = (uint64_t)st->st_size;
	request->mtime_ns = timespec_ns(st->st_mtim);
	request->generation = file->generation;
	request->has_known =
		(known || current) && !(request->kind == JOB_KIND_COPY && file->flags & JOURNAL_IN_DOUBT);
	if (request->has_known) {
		memcpy(request->known_sha256, file->sha256, JOB_SHA256_BYTES);
		memcpy(request->known_md5, file->md5, JOB_MD5_BYTES);
	}
	memcpy(request->key, candidate->key, sizeof(request->key));
	if (request->kind == JOB_KIND_COPY) {
		memcpy(request->source, candidate->source, sizeof(request->source));
		memcpy(request->source_version, candidate->source_version, sizeof(request->source_version));
	}
}

static struct flight *free_flight(struct engine *engine)
{
	for (size_t i = 0; i < ENGINE_FLIGHTS_MAX; i++) {
		if (!engine->flights[i].id)
			return &engine->flights[i];
	}
	return NULL;
}

/* 0, or -errno when the uploader takes no more. */
static int send_candidate(struct round *round, const struct candidate *candidate)
{
	struct engine *engine = round->engine;
	_cleanup_free_ struct job_request *request = calloc(1, sizeof(*request));
	_cleanup_close_ int fd = -1;
	int64_t birth_ns = 0;
	struct stat st;
	union {
		const struct candidate *in;
		void *out;
	} arg = {.in = candidate};
	struct flight *flight = free_flight(engine);

	if (!flight || !request)
		return -ENOBUFS;
	if (engine_is_key_in_flight(engine, candidate->key)) {
		decide(round, VERDICT_POSTPONE, candidate->file.ino, BUSY_RETRY_MS);
		return 0;
	}
	int r = journal_view(engine->journal, key_is_relied_on, arg.out);

	if (r > 0)
		wait_for_key(round, candidate);
	if (r != 0)
		return r < 0 ? r : 0;
	fd = open_candidate(round, candidate, &st, &birth_ns);
	if (fd < 0)
		return 0;
	fill_request(engine, candidate, &st, birth_ns, request);
	KILL_POINT("engine: about to send a job");
	r = engine_link_send(engine, request, fd);
	if (r < 0)
		return r;
	KILL_POINT("engine: job sent");
	*flight = (struct flight){.id = request->id,
		.ino = st.st_ino,
		.dir = candidate->entry.dir,
		.generation = candidate->file.generation,
		.fd = TAKE_FD(fd),
		.st = st,
		.birth_ns = birth_ns,
		.sent_ms = round->now_ms};
	memcpy(flight->name, candidate->entry.name, sizeof(flight->name));
	memcpy(flight->key, candidate->key, sizeof(flight->key));
	memcpy(flight->path, candidate->path, sizeof(flight->path));
	engine->n_flights++;
	atomic_store(&engine->counters.uploading, engine->n_flights);
	return 0;
}

struct robbery {
	uint64_t taker;
	struct journal_entry owner;
};

static int find_owner(const struct journal_entry *entry, void *arg)
{
	struct robbery *robbery = arg;

	robbery->owner = *entry;
	return entry->ino != robbery->taker;
}

/* The receipt goes before the object does. One owner a time: the next round finds the next. */
static int take_key(struct journal_txn *txn, const struct decision *decision, int64_t now_ms)
{
	struct robbery robbery = {.taker = decision->ino};
	struct journal_entry *owner = &robbery.owner;
	struct journal_file file = {0};
	int r = journal_each_with_key(txn, decision->key, find_owner, &robbery);

	if (r <= 0)
		return r;
	owner->key[0] = owner->etag[0] = owner->version_id[0] = '\0';
	owner->proven_generation = 0;
	owner->proof = JOB_PROOF_NONE;
	r = journal_put_entry(txn, owner);
	if (r == 0)
		r = journal_get_file(txn, owner->ino, &file);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (file.work == JOURNAL_IDLE) {
		file.work = JOURNAL_WAITING;
		file.since_ms = file.due_ms = now_ms;
	}
	return journal_put_file(txn, &file);
}

static int carry_out(struct journal_txn *txn, const struct decision *decision, int64_t now_ms)
{
	struct journal_file file;
	int r = journal_get_file(txn, decision->ino, &file);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	switch (decision->verdict) {
	case VERDICT_DONE:
		file.work = JOURNAL_IDLE;
		file.flags = 0;
		file.since_ms = 0;
		file.reason[0] = '\0';
		break;
	case VERDICT_POSTPONE:
		file.due_ms = now_ms + decision->delay_ms;
		break;
	case VERDICT_PARK:
		file.work = JOURNAL_PARKED;
		file.due_ms = now_ms + decision->delay_ms;
		snprintf(file.reason, sizeof(file.reason), "%s", decision->reason);
		break;
	case VERDICT_UNCHANGED:
		file.generation = file.proven_generation;
		file.due_ms = now_ms;
		break;
	case VERDICT_TAKE_KEY:
		r = take_key(txn, decision, now_ms);
		if (r < 0)
			return r;
		file.due_ms = now_ms;
		break;
	case VERDICT_DROP_NAME:
	case VERDICT_AGAIN:
		r = engine_drop_name(txn, decision->dir, decision->name, decision->ino);
		if (r == 0)
			r = journal_get_file(txn, decision->ino, &file);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		file.due_ms = now_ms + BUSY_RETRY_MS;
		break;
	}
	return journal_put_file(txn, &file);
}

static int carry_out_all(struct journal_txn *txn, void *arg)
{
	const struct round *round = arg;

	for (size_t i = 0; i < round->n_decisions; i++) {
		int r = carry_out(txn, &round->decisions[i], round->now_ms);

		if (r < 0)
			return r;
	}
	return 0;
}

static void run_round(struct round *round)
{
	struct engine *engine = round->engine;
	int r = journal_view(engine->journal, collect, round);

	for (size_t i = 0; r == 0 && i < round->n_candidates; i++)
		r = send_candidate(round, &round->candidates[i]);
	/* There may be more where those came from. */
	if (r == 0 && round->n_candidates == round->max_candidates)
		round->again_ms = 0;
	if (r < 0 && round->again_ms > SEND_RETRY_MS)
		round->again_ms = SEND_RETRY_MS;
	if (r < 0 && r != -EAGAIN && r != -ENOBUFS && r != -EPIPE)
		log_error("queue: %s", strerror(-r));
	if (round->n_decisions) {
		KILL_POINT("engine: decided, not recorded");
		r = journal_update(engine->journal, carry_out_all, round);
		KILL_POINT("engine: decisions recorded");
		if (r < 0)
			engine_journal_failed(engine, r);
	}
	/* Not before they are recorded: what is dropped must be missing when the scan looks. */
	for (size_t i = 0; i < round->n_decisions; i++) {
		if (round->decisions[i].verdict == VERDICT_AGAIN || round->decisions[i].verdict == VERDICT_DROP_NAME)
			engine_want_scan(engine);
	}
}

int64_t engine_dispatch(struct engine *engine)
{
	int64_t pause = engine->pause_until_ms - clock_ms();
	/* After a pause one job goes first, to see whether the endpoint is back. */
	uint32_t limit = engine->pauses ? 1 : engine->capacity;

	if (engine->uploader_fd < 0)
		return IDLE_POLL_MS;
	if (pause > 0)
		return pause;
	if (engine->n_flights >= limit)
		return IDLE_POLL_MS;

	size_t room = limit - engine->n_flights;
	struct round round = {.engine = engine,
		.max_candidates = room,
		.max_decisions = room + 256,
		.now_ms = wall_ms(),
		.again_ms = IDLE_POLL_MS};
	_cleanup_free_ struct candidate *candidates = calloc(room, sizeof(*candidates));
	_cleanup_free_ struct decision *decisions = calloc(round.max_decisions + 1, sizeof(*decisions));

	if (!candidates || !decisions)
		return IDLE_POLL_MS;
	round.candidates = candidates;
	round.decisions = decisions;
	run_round(&round);
	/* Full: the next result makes room, and wakes. */
	return engine->n_flights >= limit ? IDLE_POLL_MS : round.again_ms;
}
