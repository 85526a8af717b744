#include "uploader/s3/request.h"

#include <string.h>

#include "uploader/base/units.h"
#include "uploader/s3/mtime.h"

_Static_assert(sizeof(((struct request_wire *)0)->mtime) == MTIME_BYTES, "mtime_format() fills it");

void request_wire_done(struct request_wire *wire)
{
	if (wire->authorization.data)
		explicit_bzero(wire->authorization.data, wire->authorization.room);
	buf_done(&wire->authorization);
	buf_done(&wire->source);
	buf_done(&wire->url);
}

/* There is room for every header that an operation has: see the table of calls below. */
static void add(struct request_wire *wire, const char *name, const char *value)
{
	wire->headers[wire->n_headers++] = (struct sigv4_pair){.name = name, .value = value};
}

static bool optional(struct request_wire *wire, const struct request_context *context, unsigned which)
{
	if (context->without & which)
		return false;
	wire->optional |= which;
	return true;
}

static void add_mtime(struct request_wire *wire, const struct s3_request *request)
{
	add(wire, "x-amz-meta-mtime", mtime_format(request->mtime_ns, wire->mtime));
}

static void add_put(
	struct request_wire *wire, const struct request_context *context, const struct s3_request *request)
{
	hex_encode(request->sha256, JOB_SHA256_BYTES, wire->payload);
	if (optional(wire, context, REQUEST_PUT_CHECKSUM)) {
		base64_encode(request->sha256, JOB_SHA256_BYTES, wire->checksum);
		add(wire, "x-amz-checksum-sha256", wire->checksum);
		/* Some servers keep the checksum only if they are told its name as well. */
		add(wire, "x-amz-sdk-checksum-algorithm", "SHA256");
	}
	add_mtime(wire, request);
}

static void add_copy(
	struct request_wire *wire, const struct request_context *context, const struct s3_request *request)
{
	buf_putf(&wire->source, "/%s/", context->bucket);
	sigv4_uri_encode(&wire->source, request->source, true);
	if (request->source_version && *request->source_version) {
		buf_put_text(&wire->source, "?versionId=");
		sigv4_uri_encode(&wire->source, request->source_version, false);
	}
	add(wire, "x-amz-copy-source", wire->source.data ? wire->source.data : "");
	add(wire, "x-amz-metadata-directive", "REPLACE");
	if (optional(wire, context, REQUEST_COPY_CHECKSUM))
		add(wire, "x-amz-checksum-algorithm", "SHA256");
	add_mtime(wire, request);
}

static void add_operation(
	struct request_wire *wire, const struct request_context *context, const struct s3_request *request)
{
	switch (request->operation) {
	case S3_PUT:
		wire->method = HTTP_PUT;
		add_put(wire, context, request);
		break;
	case S3_COPY:
		wire->method = HTTP_PUT;
		add_copy(wire, context, request);
		break;
	case S3_HEAD:
		wire->method = HTTP_HEAD;
		if (optional(wire, context, REQUEST_HEAD_CHECKSUM))
			add(wire, "x-amz-checksum-mode", "ENABLED");
		break;
	case S3_GET:
		wire->method = HTTP_GET;
		break;
	}
}

int request_build(struct request_wire *ret, const struct request_context *context, const struct s3_request *request)
{
	static const char *const methods[] = {[HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_PUT] = "PUT"};
	const struct endpoint *endpoint = context->endpoint;
	_cleanup_buf_ struct buf path = {0}, query_text = {0};
	struct sigv4_pair query = {.name = "versionId", .value = request->version_id};
	bool versioned = request->version_id && *request->version_id;

	*ret = (struct request_wire){.payload = SIGV4_EMPTY_PAYLOAD};
	endpoint_path(&path, endpoint, request->key);
	add(ret, "host", endpoint->host);
	add(ret, "x-amz-content-sha256", ret->payload);
	add(ret, "x-amz-date", sigv4_date(context->now, ret->date));
	if (context->creds->session_token)
		add(ret, "x-amz-security-token", context->creds->session_token);
	add_operation(ret, context, request);
	if (path.error || ret->source.error)
		return -ENOMEM;

	struct sigv4_request sigv4 = {.method = methods[ret->method],
		.path = path.data,
		.query = &query,
		.n_query = versioned,
		.headers = ret->headers,
		.n_headers = ret->n_headers,
		.payload_hash = ret->payload};
	struct sigv4_scope scope = {.now = context->now, .region = endpoint->region, .service = "s3"};
	int r = sigv4_authorization(
		&ret->authorization, &sigv4, &scope, context->creds->access_key, context->creds->secret_key);

	if (r < 0 || (r = sigv4_query(&query_text, &query, versioned)) < 0)
		return r;
	/* From here on the header points at the text, which is complete. */
	add(ret, "authorization", ret->authorization.data);
	return buf_putf(&ret->url, "%s://%s%s%s%s", endpoint->scheme, endpoint->host, path.data, versioned ? "?" : "",
		versioned ? query_text.data : "");
}
