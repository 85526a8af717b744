/* What the uploader answered becomes a receipt, a later try, or a parked file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fusefs/policy/engine.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"
#include "uploader/base/units.h"

#define RETRY_BASE_MS 1000
#define RETRY_MAX_MS 60000
#define PARK_BASE_MS 30000
#define PARK_MAX_MS 600000
#define BLAMELESS_ATTEMPTS 3
#define JOURNAL_PAUSE_MS 5000
#define PAUSE_BASE_MS 500
#define PAUSE_MAX_MS 10000
#define COARSE_CLOCK_NS (NSEC_PER_SEC / 10) /* a tick is 10 ms at most */

struct flight *engine_find_flight(struct engine *engine, uint64_t id)
{
	for (size_t i = 0; id && i < ENGINE_FLIGHTS_MAX; i++) {
		if (engine->flights[i].id == id)
			return &engine->flights[i];
	}
	return NULL;
}

bool engine_is_in_flight(const struct engine *engine, uint64_t ino)
{
	for (size_t i = 0; engine->n_flights && i < ENGINE_FLIGHTS_MAX; i++) {
		if (engine->flights[i].id && engine->flights[i].ino == ino)
			return true;
	}
	return false;
}

bool engine_is_key_in_flight(const struct engine *engine, const char *key)
{
	for (size_t i = 0; engine->n_flights && i < ENGINE_FLIGHTS_MAX; i++) {
		if (engine->flights[i].id && !strcmp(engine->flights[i].key, key))
			return true;
	}
	return false;
}

void engine_land(struct engine *engine, struct flight *flight)
{
	close(flight->fd);
	flight->id = 0;
	engine->n_flights--;
	atomic_store(&engine->counters.uploading, engine->n_flights);
}

struct landing {
	const struct engine *engine;
	const struct flight *flight;
	const struct job_result *result;
	struct stat now;
	bool changed; /* size or mtime differ from when the job was sent */
};

/* base · 2^attempts, bounded. */
static int64_t backoff_ms(uint32_t attempts, int64_t base, int64_t max)
{
	int64_t delay = attempts < 16 ? base << attempts : max;

	return delay < max ? delay : max;
}

/* A change right after this one may leave the same time stamps, where the clock of the filesystem is coarse: a fresh
 * ctime tells nothing, and is kept as 0. */
static int64_t trusted_ctime(const struct stat *st)
{
	int64_t ctime_ns = timespec_ns(st->st_ctim), age_ns = wall_ns() - ctime_ns;

	return age_ns > COARSE_CLOCK_NS ? ctime_ns : 0;
}

static int put_receipt(struct journal_txn *txn, const struct landing *landing, struct journal_file *file)
{
	const struct job_result *result = landing->result;
	const struct flight *flight = landing->flight;
	struct journal_entry entry;
	/* Known content that is copied, or found there, is not read again: the digests of its blocks are those of the old receipt. */
	bool same_blocks = result->way != JOB_WAY_PUT && !result->n_blocks &&
			   file->proven_generation == flight->generation &&
			   !memcmp(file->sha256, result->sha256, JOB_SHA256_BYTES);

	file->birth_ns = flight->birth_ns;
	file->proven_generation = flight->generation;
	file->size = result->size;
	file->mtime_ns = timespec_ns(flight->st.st_mtim);
	/* Touched while it was read or proven: what the time stamps say is not about the bytes that were read. */
	file->ctime_ns =
		timespec_ns(landing->now.st_ctim) == timespec_ns(flight->st.st_ctim) ? trusted_ctime(&flight->st) : 0;
	memcpy(file->sha256, result->sha256, JOB_SHA256_BYTES);
	memcpy(file->md5, result->md5, JOB_MD5_BYTES);
	if (!same_blocks) {
		file->block_shift = result->n_blocks ? result->block_shift : 0;
		journal_put_blocks(txn, file->ino, result->n_blocks, result->blocks);
	}

	int r = journal_get_entry(txn, flight->dir, flight->name, &entry);

	if (r == -ENOENT || (r == 0 && entry.ino != flight->ino))
		return 0; /* moved or removed meanwhile: the object stays, and is nobody's */
	if (r < 0)
		return r;
	memcpy(entry.key, flight->key, sizeof(entry.key));
	entry.proven_generation = flight->generation;
	entry.proof = result->proof;
	entry.proven_ms = wall_ms();
	memcpy(entry.etag, result->etag, sizeof(entry.etag));
	memcpy(entry.version_id, result->version_id, sizeof(entry.version_id));
	return journal_put_entry(txn, &entry);
}

static int land_done(struct journal_txn *txn, const struct landing *landing, struct journal_file *file)
{
	int r = 0;

	if (file->generation == landing->flight->generation && landing->changed) {
		/* Changed without a close that we saw: a mapping. The object holds what was read; now there is more. */
		file->generation++;
	}
	if (file->generation == landing->flight->generation || file->proven_generation < landing->flight->generation)
		r = put_receipt(txn, landing, file);
	if (r < 0)
		return r;
	file->attempts = 0;
	file->reason[0] = '\0';
	/* Whether every name is served is seen when it is looked at again, at once. */
	if (file->generation == landing->flight->generation) {
		file->work = JOURNAL_WAITING;
		file->due_ms = 0;
	}
	return journal_put_file(txn, file);
}

static void put_off(struct journal_file *file, const struct landing *landing)
{
	const struct job_result *result = landing->result;
	bool parked = result->outcome == JOB_PARKED;
	int64_t delay = parked ? backoff_ms(file->attempts, PARK_BASE_MS, PARK_MAX_MS)
			       : backoff_ms(file->attempts, RETRY_BASE_MS, RETRY_MAX_MS);

	/* The endpoint as a whole is watched by the pause; the file is not to blame, unless it goes on like that. */
	if (result->endpoint_down && file->attempts < BLAMELESS_ATTEMPTS)
		delay = 0;
	file->work = parked ? JOURNAL_PARKED : JOURNAL_WAITING;
	file->due_ms = wall_ms() + delay;
	file->attempts++;
	snprintf(file->reason, sizeof(file->reason), "%s", result->text);
}

static int record_outcome(struct journal_txn *txn, const struct landing *landing)
{
	const struct flight *flight = landing->flight;
	struct journal_file file;
	int r = journal_get_file(txn, flight->ino, &file);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (landing->result->outcome == JOB_DONE)
		return land_done(txn, landing, &file);
	if (file.generation != flight->generation)
		return 0; /* it waits for its next content already */
	if (landing->result->outcome == JOB_CHANGED) {
		file.generation++;
		file.due_ms = wall_ms() + landing->engine->config->settle_ms;
	} else {
		put_off(&file, landing);
	}
	return journal_put_file(txn, &file);
}

static int is_another_name(const struct journal_entry *entry, void *arg)
{
	const struct flight *flight = arg;

	return entry->dir != flight->dir || strcmp(entry->name, flight->name) != 0;
}

/* Nothing is left to do: the file has this one name, and the name still leads to the key that was served. */
static int is_served(const struct landing *landing, struct journal_txn *txn, const struct journal_file *file)
{
	struct flight flight = *landing->flight;
	char path[ENGINE_PATH_MAX], key[JOB_KEY_MAX + 1];
	int r = journal_each_name(txn, file->ino, is_another_name, &flight);

	if (r != 0)
		return r < 0 ? r : 0;
	if (engine_path(landing->engine, txn, flight.dir, flight.name, path) < 0 ||
		keys_make(&landing->engine->keys, path, file->mtime_ns, key) < 0)
		return 0;
	return !strcmp(key, flight.key);
}

static int record(struct journal_txn *txn, const struct landing *landing)
{
	struct journal_file file;
	int r = record_outcome(txn, landing);

	if (r < 0 || landing->result->outcome != JOB_DONE)
		return r;
	r = journal_get_file(txn, landing->flight->ino, &file);
	if (r < 0 || file.work != JOURNAL_WAITING || file.due_ms != 0)
		return r == -ENOENT ? 0 : r;
	r = is_served(landing, txn, &file);
	if (r <= 0)
		return r; /* the dispatcher looks at it again, at once */
	file.work = JOURNAL_IDLE;
	file.flags = 0;
	file.since_ms = 0;
	return journal_put_file(txn, &file);
}

static void count(struct engine *engine, const struct flight *flight, const struct job_result *result)
{
	struct engine_counters *counters = &engine->counters;
	char quoted[LOG_QUOTE_MAX];

	if (result->outcome == JOB_DONE) {
		atomic_fetch_add(result->way == JOB_WAY_COPIED    ? &counters->copied
				 : result->way == JOB_WAY_PRESENT ? &counters->present
								  : &counters->uploaded,
			1);
		if (result->way == JOB_WAY_PUT)
			atomic_fetch_add(&counters->uploaded_bytes, result->size);
		atomic_store(&counters->last_success_ms, wall_ms());
		engine_set_error(engine, "");
		engine->pauses = 0;
		return;
	}
	if (result->outcome == JOB_CHANGED)
		return;
	atomic_store(&counters->last_failure_ms, wall_ms());
	engine_set_error(engine, result->text);
	if (result->outcome == JOB_PARKED)
		log_warning("parked path=%s: %s", log_quote(flight->path, quoted), result->text);
	/* Another job went through meanwhile: it is not the endpoint as a whole. */
	if (result->endpoint_down && atomic_load(&counters->last_success_ms) < flight->sent_ms) {
		int64_t pause = backoff_ms(engine->pauses, PAUSE_BASE_MS, PAUSE_MAX_MS);

		if (engine->pauses == 0)
			log_warning("S3 does not answer: %s; files wait on disk", result->text);
		if (engine->pause_until_ms < clock_ms())
			engine->pauses++;
		engine->pause_until_ms = clock_ms() + pause;
	}
}

void engine_journal_failed(struct engine *engine, int error)
{
	log_error("journal: cannot be written: %s; uploads wait", strerror(-error));
	engine_set_error(engine, "the journal cannot be written: look at the disk under EBBFS_STATE");
	engine->pause_until_ms = clock_ms() + JOURNAL_PAUSE_MS;
	engine->ask_first = true;
}

static bool prepare(struct engine *engine, const struct job_result *result, struct landing *landing)
{
	struct flight *flight = engine_find_flight(engine, result->id);

	if (!flight) {
		log_warning("uploader answered job %llu, which is not open", (unsigned long long)result->id);
		return false;
	}
	*landing = (struct landing){.engine = engine, .flight = flight, .result = result};
	if (fstat(flight->fd, &landing->now) < 0)
		landing->changed = true;
	else
		landing->changed = landing->now.st_size != flight->st.st_size ||
				   timespec_ns(landing->now.st_mtim) != timespec_ns(flight->st.st_mtim) ||
				   (result->outcome == JOB_DONE && result->size != (uint64_t)flight->st.st_size);
	return true;
}

struct landings {
	struct landing list[ENGINE_RESULTS_MAX];
	size_t n;
};

static int record_all(struct journal_txn *txn, void *arg)
{
	const struct landings *landings = arg;

	for (size_t i = 0; i < landings->n; i++) {
		int r = record(txn, &landings->list[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

void engine_on_results(struct engine *engine, const struct job_result *results, size_t n)
{
	struct landings landings = {0};

	for (size_t i = 0; i < n; i++)
		landings.n += prepare(engine, &results[i], &landings.list[landings.n]);
	KILL_POINT("engine: results received, not recorded");
	int r = journal_update(engine->journal, record_all, &landings);

	KILL_POINT("engine: results recorded");
	if (r < 0)
		/* Not recorded, so not proven: they are found waiting and looked for in the bucket. */
		engine_journal_failed(engine, r);
	for (size_t i = 0; i < landings.n; i++) {
		struct flight *flight = engine_find_flight(engine, landings.list[i].result->id);

		if (!flight)
			continue;
		if (r == 0)
			count(engine, flight, landings.list[i].result);
		engine_land(engine, flight);
	}
}

static int check_first(struct journal_txn *txn, void *arg)
{
	const struct engine *engine = arg;

	for (size_t i = 0; i < ENGINE_FLIGHTS_MAX; i++) {
		struct journal_file file;

		if (!engine->flights[i].id || journal_get_file(txn, engine->flights[i].ino, &file) != 0)
			continue;
		file.flags |= JOURNAL_CHECK_FIRST;
		journal_put_file(txn, &file);
	}
	return 0;
}

void engine_recall_flights(struct engine *engine)
{
	if (!engine->n_flights)
		return;
	/* Some of it may have arrived: ask before sending again. */
	int r = journal_update(engine->journal, check_first, engine);

	if (r < 0)
		log_error("journal: %s", strerror(-r));
	for (size_t i = 0; i < ENGINE_FLIGHTS_MAX; i++) {
		if (engine->flights[i].id)
			engine_land(engine, &engine->flights[i]);
	}
}
