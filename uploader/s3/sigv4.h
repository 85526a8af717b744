/* AWS Signature Version 4 in the Authorization header: pure functions of request, clock and credentials.
 *
 * Rules: "Signature Calculations for the Authorization Header" of the S3 API reference. A path is encoded once and
 * never normalised (`//`, `.` and `..` are ordinary parts of a key). Nothing here knows HTTP or endpoints. Any thread. */
#ifndef EBBFS_S3_SIGV4_H
#define EBBFS_S3_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "uploader/base/buf.h"

#define SIGV4_HEX_BYTES 65  /* 64 digits and a NUL */
#define SIGV4_DATE_BYTES 17 /* 20130524T000000Z and a NUL */
#define SIGV4_PAIRS_MAX 32  /* headers, or query parameters, of one request */

/* SHA-256 of nothing: the payload hash of every request without a body. */
#define SIGV4_EMPTY_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_pair {
	const char *name;
	const char *value;
};

struct sigv4_request {
	const char *method;
	const char *path;               /* encoded, exactly as sent, from the first '/' */
	const struct sigv4_pair *query; /* plain, in any order */
	size_t n_query;
	const struct sigv4_pair *headers; /* in any order and case; all of them are signed; Host must be there */
	size_t n_headers;
	const char *payload_hash; /* as in x-amz-content-sha256 */
};

struct sigv4_scope {
	time_t now; /* seconds since 1970 */
	const char *region;
	const char *service;
};

/* Appends text with everything but A–Z a–z 0–9 - . _ ~ (and '/', if kept) as %XX, upper case. Returns buf->error. */
int sigv4_uri_encode(struct buf *buf, const char *text, bool keep_slash);

/* `20130524T000000Z`. Returns out. */
const char *sigv4_date(time_t now, char out[static SIGV4_DATE_BYTES]);

/* Each stage appends to buf. 0, or -E2BIG (more than SIGV4_PAIRS_MAX pairs), -ENOMEM, -EIO (OpenSSL failed). */
int sigv4_query(struct buf *buf, const struct sigv4_pair *query, size_t n_query) _must_check_;
int sigv4_canonical_request(struct buf *buf, const struct sigv4_request *request) _must_check_;
int sigv4_string_to_sign(struct buf *buf, const struct sigv4_scope *scope, const char *canonical) _must_check_;
int sigv4_signature(const char *secret_key, const struct sigv4_scope *scope, const char *string_to_sign,
	char ret_hex[static SIGV4_HEX_BYTES]) _must_check_;

/* The value of the Authorization header, from all of the above. */
int sigv4_authorization(struct buf *buf, const struct sigv4_request *request, const struct sigv4_scope *scope,
	const char *access_key, const char *secret_key) _must_check_;

#endif
