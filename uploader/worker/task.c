/* The way of a job:
 *
 *	hash ── check (HEAD) ── put ──────────────── proven by the answer: done
 *	  │        │ equal: done  │ unknown: resolve (HEAD) ── equal: done, else put again
 *	  │        │              └ answered, not proven: prove (HEAD) ── read back (GET)
 *	  └ copy ── prove the copy (HEAD) ── not to be had: hash, put
 *
 * Each arrow is a function that is called back with S3's response. A task whose state is TASK_CALLING has exactly one
 * call; every other has none. */
#include "uploader/worker/task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uploader/base/units.h"
#include "uploader/s3/retry.h"
#include "uploader/worker/digest.h"
#include "uploader/worker/outcome.h"
#include "uploader/worker/proof.h"
#include "uploader/worker/source.h"

struct task {
	const struct task_env *env;
	enum task_state state;
	struct job_request request; /* kind becomes JOB_KIND_PUT when a copy falls back */
	struct job_result result;
	struct source source;
	struct digest *digest; /* of the file while hashing, of the object while reading back */
	uint64_t hashed_bytes;
	bool has_digests;  /* result.sha256 and .md5 are of this file */
	bool contradicted; /* S3 named another digest than ours */
	int read_error;    /* -errno of the descriptor while sending */
	int attempts;      /* of PUT */
	int64_t begun_ms;
	struct s3_error put_error; /* while resolving */
	struct s3_call *call;
};

typedef void (*task_callback)(void *task, const struct s3_response *response);

struct task *task_new(const struct task_env *env, const struct job_request *request, int fd)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task) {
		close(fd);
		return NULL;
	}
	task->env = env;
	task->request = *request;
	task->result.id = request->id;
	task->source.fd = fd;
	task->begun_ms = clock_ms();
	return task;
}

void task_free(struct task *task)
{
	if (!task)
		return;
	s3_call_cancel(task->call);
	digest_free(task->digest);
	source_done(&task->source);
	job_result_done(&task->result);
	free(task);
}

static void finish(struct task *task)
{
	int64_t took = clock_ms() - task->begun_ms;

	task->state = TASK_FINISHED;
	task->result.duration_ms = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	digest_free(TAKE_PTR(task->digest));
	source_done(&task->source);
}

static void finish_done(struct task *task, enum job_way way, enum job_proof proof)
{
	task->result.outcome = JOB_DONE;
	task->result.way = way;
	task->result.proof = proof;
	task->result.text[0] = '\0';
	finish(task);
}

static void __attribute__((format(printf, 3, 4))) finish_because(
	struct task *task, enum job_outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(task->result.text, sizeof(task->result.text), format, args);
	va_end(args);
	task->result.outcome = outcome;
	finish(task);
}

static void finish_error(struct task *task, const struct s3_error *error, const char *doing)
{
	if (task->read_error) {
		finish_because(
			task, JOB_PARKED, "the file cannot be read: %s; check the disk", strerror(-task->read_error));
		return;
	}
	outcome_of_error(&task->result, error, doing, task->env->bucket);
	finish(task);
}

static void finish_local_error(struct task *task, int error)
{
	if (error == -ESTALE)
		finish_because(task, JOB_CHANGED, "the file changed while it was read");
	else if (error == -ENOMEM)
		finish_because(task, JOB_RETRY, "out of memory");
	else if (error == -EINVAL)
		finish_because(task, JOB_PARKED, "this is no regular file");
	else
		finish_because(task, JOB_PARKED, "the file cannot be read: %s; check the disk", strerror(-error));
}

static void call(struct task *task, struct s3_request *request, task_callback done)
{
	request->key = task->request.key;
	request->mtime_ns = task->request.mtime_ns;
	request->done = done;
	request->arg = task;
	task->state = TASK_CALLING;
	if (s3_call_start(task->env->client, request, &task->call) < 0)
		finish_local_error(task, -ENOMEM);
}

/* Every callback's first line: the call is gone. */
static struct task *answered(void *arg, const struct s3_response *response)
{
	struct task *task = arg;

	task->call = NULL;
	task->result.http_status = (uint16_t)response->error.status;
	return task;
}

static void ask(struct task *task, task_callback done)
{
	struct s3_request request = {.operation = S3_HEAD, .version_id = task->result.version_id};

	call(task, &request, done);
}

static void take_names(struct task *task, const struct s3_response *response)
{
	memcpy(task->result.etag, response->etag, sizeof(task->result.etag));
	memcpy(task->result.version_id, response->version_id, sizeof(task->result.version_id));
}

/* What the answer to a HEAD proves; an object of another size is another object. */
static enum proof_verdict judge_head(
	const struct task *task, const struct s3_response *response, enum job_proof *ret_proof)
{
	*ret_proof = JOB_PROOF_NONE;
	if (response->error.class != S3_OK)
		return PROOF_SILENT;
	if (response->size_bytes != task->request.size)
		return PROOF_CONTRADICTION;
	return proof_judge(response, task->result.sha256, task->result.md5, ret_proof);
}

/* --- reading back --- */

static int on_object(void *arg, const void *bytes, size_t length, uint64_t offset)
{
	struct task *task = arg;

	if (offset == 0) {
		digest_free(TAKE_PTR(task->digest));
		task->digest = digest_new(task->request.size);
	}
	/* Too many bytes end the call as well as no memory does. */
	return task->digest ? digest_update(task->digest, bytes, length) : -ENOMEM;
}

/* An object without a byte calls on_object() never. */
static bool object_equal(struct task *task)
{
	_cleanup_job_result_ struct job_result object = {0};

	if (!task->digest)
		task->digest = digest_new(task->request.size);
	return task->digest && digest_finish(task->digest, &object) == 0 &&
	       !memcmp(object.sha256, task->result.sha256, JOB_SHA256_BYTES);
}

static void on_read_back(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum s3_class class = response->error.class;

	if (class == S3_OK && object_equal(task))
		finish_done(task, JOB_WAY_PUT, JOB_PROOF_READ_BACK);
	else if (class == S3_OK || (class == S3_STOPPED && task->digest))
		finish_because(task, JOB_PARKED,
			"S3 holds other bytes under the key than were sent: something else writes there, or the "
			"storage is damaged");
	else if (task->contradicted && class == S3_TRANSIENT)
		finish_because(task, JOB_RETRY,
			"S3 names another digest than that of the bytes sent, and could not be read to compare");
	else
		finish_error(task, &response->error, "GET");
}

static void read_back(struct task *task)
{
	struct s3_request request = {.operation = S3_GET, .version_id = task->result.version_id, .write = on_object};

	source_unload(&task->source);
	call(task, &request, on_read_back);
}

/* --- sending --- */

static void put(struct task *task);

static void on_prove(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum job_proof proof;
	enum proof_verdict verdict = judge_head(task, response, &proof);

	if (verdict == PROOF_EQUAL) {
		finish_done(task, JOB_WAY_PUT, proof);
		return;
	}
	task->contradicted |= verdict == PROOF_CONTRADICTION;
	if (response->error.class == S3_OK || response->error.class == S3_REFUSED)
		read_back(task);
	else if (response->error.class == S3_NOT_FOUND)
		finish_because(task, JOB_RETRY, "S3 took the object but does not show it");
	else
		finish_error(task, &response->error, "HEAD");
}

/* After a PUT of which nobody knows whether it took place. */
static void on_resolve(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum job_proof proof;

	if (judge_head(task, response, &proof) == PROOF_EQUAL) {
		take_names(task, response);
		finish_done(task, JOB_WAY_PUT, proof);
	} else if (task->attempts < RETRY_ATTEMPTS &&
		   (response->error.class == S3_OK || response->error.class == S3_NOT_FOUND ||
			   response->error.class == S3_REFUSED))
		put(task);
	else
		finish_error(task, &task->put_error, "PUT");
}

static void on_put(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum job_proof proof;

	task->attempts = response->attempts;
	if (task->read_error)
		finish_local_error(task, task->read_error);
	else if (!source_unchanged(&task->source))
		finish_local_error(task, -ESTALE);
	else if (response->error.ambiguous) {
		task->put_error = response->error;
		ask(task, on_resolve);
	} else if (response->error.class != S3_OK)
		finish_error(task, &response->error, "PUT");
	else {
		enum proof_verdict verdict = proof_judge(response, task->result.sha256, task->result.md5, &proof);

		take_names(task, response);
		task->contradicted = verdict == PROOF_CONTRADICTION;
		if (verdict == PROOF_EQUAL)
			finish_done(task, JOB_WAY_PUT, proof);
		else
			ask(task, on_prove);
	}
}

static ssize_t on_body(void *arg, void *bytes, size_t length, uint64_t offset)
{
	struct task *task = arg;
	ssize_t n = source_read(&task->source, bytes, length, offset);

	/* The end before the promised size: it was cut. */
	if (n <= 0)
		task->read_error = n < 0 ? (int)n : -ESTALE;
	return n > 0 ? n : -1;
}

static void put(struct task *task)
{
	struct s3_request request = {.operation = S3_PUT,
		.size_bytes = task->request.size,
		.sha256 = task->result.sha256,
		.attempts_before = task->attempts,
		.read = on_body};

	call(task, &request, on_put);
}

/* --- copying --- */

static void begin_hashing(struct task *task);

static void fall_back(struct task *task)
{
	task->request.kind = JOB_KIND_PUT;
	task->request.flags &= ~(uint32_t)JOB_CHECK_FIRST;
	task->request.has_known = false;
	task->result.version_id[0] = '\0';
	if (task->has_digests)
		put(task);
	else
		begin_hashing(task);
}

static void on_prove_copy(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum job_proof proof;

	if (judge_head(task, response, &proof) == PROOF_EQUAL) {
		take_names(task, response);
		finish_done(task, JOB_WAY_COPIED, proof);
	} else if (response->error.class == S3_TRANSIENT || response->error.class == S3_THROTTLED)
		finish_error(task, &response->error, "HEAD");
	else
		fall_back(task);
}

static void on_copy(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum s3_class class = response->error.class;

	if (class == S3_OK || response->error.ambiguous) {
		memcpy(task->result.version_id, response->version_id, sizeof(task->result.version_id));
		ask(task, on_prove_copy);
	} else if (class == S3_TRANSIENT || class == S3_THROTTLED || class == S3_NO_CREDENTIALS)
		finish_error(task, &response->error, "COPY");
	else
		fall_back(task);
}

static void copy(struct task *task)
{
	struct s3_request request = {
		.operation = S3_COPY, .source = task->request.source, .source_version = task->request.source_version};

	call(task, &request, on_copy);
}

/* --- asking first --- */

static void act(struct task *task)
{
	/* Of the object that was found, if one was: what comes now makes another. */
	task->result.version_id[0] = '\0';
	if (task->request.kind == JOB_KIND_COPY)
		copy(task);
	else
		put(task);
}

static void on_check_read(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);

	if (response->error.class == S3_OK && object_equal(task))
		finish_done(task, JOB_WAY_PRESENT, JOB_PROOF_READ_BACK);
	else
		act(task);
}

/* An object of the right size of which the server names no digest: reading it costs less than sending it. */
static void read_to_check(struct task *task)
{
	struct s3_request request = {.operation = S3_GET, .version_id = task->result.version_id, .write = on_object};

	call(task, &request, on_check_read);
}

static void on_check(void *arg, const struct s3_response *response)
{
	struct task *task = answered(arg, response);
	enum job_proof proof;
	enum proof_verdict verdict = judge_head(task, response, &proof);

	if (verdict == PROOF_EQUAL) {
		take_names(task, response);
		finish_done(task, JOB_WAY_PRESENT, proof);
		return;
	}
	if (verdict == PROOF_SILENT && response->error.class == S3_OK) {
		take_names(task, response);
		read_to_check(task);
		return;
	}
	/* A refused HEAD says little (without s3:ListBucket, a missing key is 403): the PUT's own error says more. */
	bool answered_no = response->error.class == S3_OK || response->error.class == S3_NOT_FOUND ||
			   (response->error.class == S3_REFUSED && response->error.status != 0);

	if (answered_no)
		act(task);
	else
		finish_error(task, &response->error, "HEAD");
}

/* The digests are there. */
static void begin_requests(struct task *task)
{
	const struct job_request *request = &task->request;
	bool same = request->has_known && request->kind == JOB_KIND_PUT &&
		    !memcmp(request->known_sha256, task->result.sha256, JOB_SHA256_BYTES);

	if (same || (request->flags & JOB_CHECK_FIRST))
		ask(task, on_check);
	else
		act(task);
}

/* --- hashing --- */

static void begin_hashing(struct task *task)
{
	task->state = TASK_HASHING;
	task->hashed_bytes = 0;
	digest_free(TAKE_PTR(task->digest));
	task->digest = digest_new(task->request.size);
	if (!task->digest)
		finish_local_error(task, -ENOMEM);
}

static int hash_slice(struct task *task)
{
	uint64_t left = task->request.size - task->hashed_bytes;
	size_t want = left < TASK_SLICE_BYTES ? (size_t)left : TASK_SLICE_BYTES;
	int r = source_load(&task->source);

	if (r < 0)
		return r;
	ssize_t n = source_read(&task->source, task->env->scratch, want, task->hashed_bytes);

	if (n < 0)
		return (int)n;
	if ((size_t)n < want)
		return -ESTALE;
	task->hashed_bytes += want;
	return digest_update(task->digest, task->env->scratch, want);
}

static void hash_turn(struct task *task)
{
	int r = hash_slice(task);

	if (r == 0 && task->hashed_bytes < task->request.size)
		return;
	if (r == 0 && !source_unchanged(&task->source))
		r = -ESTALE;
	if (r == 0)
		r = digest_finish(task->digest, &task->result);
	if (r < 0) {
		finish_local_error(task, r);
		return;
	}
	digest_free(TAKE_PTR(task->digest));
	task->has_digests = true;
	begin_requests(task);
}

static void begin(struct task *task)
{
	const struct job_request *request = &task->request;
	int fd = TAKE_FD(task->source.fd);
	int r = source_init(&task->source, fd, request->size, request->mtime_ns);

	if (r < 0)
		finish_local_error(task, r);
	else if (request->size > S3_PUT_MAX_BYTES)
		finish_because(task, JOB_PARKED,
			"the file is larger than 5 GiB: this version sends files in one piece only, which S3 limits "
			"to 5 GiB");
	else if (request->kind == JOB_KIND_COPY && request->has_known) {
		/* The block digests are in the receipt that these come from. */
		memcpy(task->result.sha256, request->known_sha256, JOB_SHA256_BYTES);
		memcpy(task->result.md5, request->known_md5, JOB_MD5_BYTES);
		task->result.size = request->size;
		begin_requests(task);
	} else
		begin_hashing(task);
}

void task_turn(struct task *task)
{
	if (task->state == TASK_WAITING)
		begin(task);
	else if (task->state == TASK_HASHING)
		hash_turn(task);
}

void task_cancel(struct task *task)
{
	if (task->state == TASK_FINISHED)
		return;
	s3_call_cancel(TAKE_PTR(task->call));
	finish_because(task, JOB_CHANGED, "cancelled");
}

enum task_state task_state(const struct task *task)
{
	return task->state;
}

uint64_t task_id(const struct task *task)
{
	return task->request.id;
}

const struct job_request *task_request(const struct task *task)
{
	return &task->request;
}

const struct job_result *task_result(const struct task *task)
{
	return &task->result;
}
