/* S3 operations on one bucket: built, signed, sent, and tried again where that can help.
 *
 * Within one call: up to RETRY_ATTEMPTS attempts, one change of region, one correction of the clock, and again at once
 * without a header that the server does not implement (it is never sent to this endpoint again). A PUT or a copy whose
 * outcome is unknown is not tried again here: the call ends with error.ambiguous, and the caller looks first.
 * One thread; every callback is called from s3_client_run(). */
#ifndef EBBFS_S3_CLIENT_H
#define EBBFS_S3_CLIENT_H

#include "uploader/base/config.h"
#include "uploader/s3/creds.h"
#include "uploader/s3/error.h"
#include "uploader/wire/job.h"

#define S3_PUT_MAX_BYTES (5ULL << 30) /* of one PutObject or CopyObject: the S3 API reference */
#define S3_ERROR_MAX 320

struct s3_client;
struct s3_call;
struct s3_response;

enum s3_operation {
	S3_HEAD,
	S3_GET,
	S3_PUT,
	S3_COPY,
};

/* Borrowed until done or cancelled. */
struct s3_request {
	enum s3_operation operation;
	const char *key;
	const char *version_id; /* S3_HEAD, S3_GET; NULL or "": the newest */
	uint64_t size_bytes;    /* S3_PUT */
	const uint8_t *sha256;  /* S3_PUT: 32 bytes */
	int64_t mtime_ns;       /* S3_PUT, S3_COPY */
	int attempts_before;    /* that count against RETRY_ATTEMPTS */
	const char *source;     /* S3_COPY: a key of the same bucket */
	const char *source_version;
	/* S3_PUT, the body: as in struct http_request. */
	ssize_t (*read)(void *arg, void *bytes, size_t length, uint64_t offset);
	/* S3_GET, the body of a good answer in order; offset 0: from the beginning (again). Negative ends the call. */
	int (*write)(void *arg, const void *bytes, size_t length, uint64_t offset);
	void (*done)(void *arg, const struct s3_response *response);
	void *arg;
};

struct s3_response {
	struct s3_error error; /* class S3_OK: the rest is good */
	int attempts;          /* made, those before included */
	uint64_t size_bytes;   /* S3_HEAD: Content-Length; S3_GET: bytes that came */
	bool has_sha256;       /* of the whole object, not of its parts */
	uint8_t sha256[JOB_SHA256_BYTES];
	char etag[JOB_ETAG_MAX]; /* without quotes; "" when there was none */
	char version_id[JOB_VERSION_ID_MAX + 1];
};

/* Reads AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION and AWS_CA_BUNDLE. The provider becomes
 * the client's. 0, or -errno with a line for people in error (-EINVAL: a variable is wrong). */
int s3_client_new(struct s3_client **ret, const struct config *config, struct creds_provider *provider,
	char error[static S3_ERROR_MAX]) _must_check_;
void s3_client_free(struct s3_client *client); /* after its calls */
static inline void s3_client_freep(struct s3_client **pointer)
{
	s3_client_free(*pointer);
}

/* scheme://host/base, for the log. Borrowed. */
const char *s3_client_endpoint(const struct s3_client *client);

/* 0 or -ENOMEM. done comes later, never from within. */
int s3_call_start(struct s3_client *client, const struct s3_request *request, struct s3_call **ret) _must_check_;

/* Ends a call without calling done. NULL is fine. */
void s3_call_cancel(struct s3_call *call);

/* Waits like http_wait(), but not past the next retry. */
void s3_client_wait(struct s3_client *client, struct pollfd *fds, size_t n_fds, int timeout_ms);
void s3_client_run(struct s3_client *client);

#endif
