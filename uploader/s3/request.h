/* One attempt of one operation as HTTP: URL, headers and signature. No I/O; one thread. */
#ifndef EBBFS_S3_REQUEST_H
#define EBBFS_S3_REQUEST_H

#include "uploader/s3/client.h"
#include "uploader/s3/endpoint.h"

/* Headers that a server may not know: after a 501 they stay out. */
#define REQUEST_PUT_CHECKSUM 0x1  /* x-amz-checksum-sha256 and x-amz-sdk-checksum-algorithm */
#define REQUEST_HEAD_CHECKSUM 0x2 /* x-amz-checksum-mode */
#define REQUEST_COPY_CHECKSUM 0x4 /* x-amz-checksum-algorithm */

struct request_context {
	const struct endpoint *endpoint;
	const char *bucket;
	const struct creds *creds;
	time_t now;       /* the server's, as far as known */
	unsigned without; /* REQUEST_… that stay out */
};

/* What http_start() takes; owns what it points to. */
struct request_wire {
	enum http_method method;
	struct buf url;
	struct sigv4_pair headers[SIGV4_PAIRS_MAX];
	size_t n_headers;
	struct buf authorization, source;
	char date[SIGV4_DATE_BYTES], payload[SIGV4_HEX_BYTES], checksum[48], mtime[24];
	unsigned optional; /* REQUEST_… that it carries */
};

/* Erases what was secret. */
void request_wire_done(struct request_wire *wire);

/* 0, -ENOMEM, -E2BIG or -EIO. ret is to be done in any case. */
int request_build(struct request_wire *ret, const struct request_context *context,
	const struct s3_request *request) _must_check_;

#endif
