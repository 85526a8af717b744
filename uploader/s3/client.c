/* How an attempt ends decides the call:
 *
 *	good		done
 *	region		x-amz-bucket-region names another one: sign for that, at once, once per call
 *	skewed		take the offset of our clock from Date, sign again, at once, once per call
 *	501		leave out the optional headers that it carried, at once
 *	transient	after retry_delay_ms(), if retry_take() grants it; not if it is ambiguous and writes
 *	anything else	done
 *
 * The offset, the region and the headers left out are remembered for all later calls. */
#include "uploader/s3/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "uploader/base/units.h"
#include "uploader/s3/request.h"
#include "uploader/s3/retry.h"

#define ERROR_BODY_MAX (64U << 10)
#define STALL_SECONDS 60
#define STALL_COPY_SECONDS 300 /* a copy of gigabytes may be silent for minutes */
#define SKEW_MAX_S 240         /* S3 refuses above 15 min, some servers above 5 */

struct s3_client {
	struct http *http;
	struct creds_provider *provider;
	struct endpoint endpoint;
	enum config_addressing addressing;
	char bucket[CONFIG_BUCKET_MAX];
	char name[2 * ENDPOINT_HOST_MAX + 16];
	struct retry_bucket tokens;
	int64_t skew_s;   /* the server's clock minus ours */
	unsigned without; /* REQUEST_… that the server does not implement */
	struct s3_call *calls;
};

struct s3_call {
	struct s3_client *client;
	struct s3_call *next, **link;
	struct s3_request request;
	struct http_transfer *transfer; /* NULL while waiting */
	int64_t due_ms;                 /* when waiting: clock_ms() of the next attempt */
	int attempt;                    /* from 1 */
	int taken;                      /* tokens of the last retry */
	unsigned sent_optional;         /* of this attempt */
	bool redirected, corrected, was_up;
	uint64_t received;
	struct buf body; /* of an answer that is not the object */
};

static const char *get_variable(const char *name, const char *other, const char *fallback)
{
	const char *value = getenv(name);

	if (!value || !*value)
		value = getenv(other);
	return value && *value ? value : fallback;
}

int s3_client_new(struct s3_client **ret, const struct config *config, struct creds_provider *provider,
	char error[static S3_ERROR_MAX])
{
	const char *url = get_variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", NULL);
	const char *region = get_variable("AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1");
	const char *ca_bundle = get_variable("AWS_CA_BUNDLE", "AWS_CA_BUNDLE", NULL);
	struct s3_client *client = calloc(1, sizeof(*client));
	int r;

	*error = '\0';
	if (!client) {
		creds_provider_free(provider);
		return -ENOMEM;
	}
	client->provider = provider;
	client->addressing = config->addressing;
	client->tokens.tokens = RETRY_TOKENS;
	snprintf(client->bucket, sizeof(client->bucket), "%s", config->bucket);
	r = endpoint_init(&client->endpoint, url, region, client->bucket, client->addressing);
	if (r < 0)
		snprintf(error, S3_ERROR_MAX,
			"AWS_ENDPOINT_URL=%.120s AWS_REGION=%.60s: must be http(s)://HOST[:PORT] and a region's name",
			/* Whoever put credentials into it must not find them in a log. */
			!url               ? ""
			: strchr(url, '@') ? "(with a user or password)"
					   : url,
			region);
	else if (ca_bundle && access(ca_bundle, R_OK) < 0) {
		r = -EINVAL;
		snprintf(error, S3_ERROR_MAX, "AWS_CA_BUNDLE=%.200s: %s", ca_bundle, strerror(errno));
	} else
		r = http_new(&client->http, ca_bundle, config->connections);
	if (r < 0) {
		s3_client_free(client);
		return r;
	}
	snprintf(client->name, sizeof(client->name), "%s://%s%s", client->endpoint.scheme, client->endpoint.host,
		client->endpoint.base);
	*ret = client;
	return 0;
}

void s3_client_free(struct s3_client *client)
{
	if (!client)
		return;
	http_free(client->http);
	creds_provider_free(client->provider);
	free(client);
}

const char *s3_client_endpoint(const struct s3_client *client)
{
	return client->name;
}

static void call_free(struct s3_call *call)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	buf_done(&call->body);
	free(call);
}

static void finish(struct s3_call *call, const struct s3_response *response)
{
	struct s3_request request = call->request;

	call_free(call);
	request.done(request.arg, response);
}

static bool writes(const struct s3_call *call)
{
	return call->request.operation == S3_PUT || call->request.operation == S3_COPY;
}

static ssize_t on_read(void *arg, void *bytes, size_t length, uint64_t offset)
{
	struct s3_call *call = arg;

	return call->request.read(call->request.arg, bytes, length, offset);
}

static int on_write(void *arg, int status, const void *bytes, size_t length)
{
	struct s3_call *call = arg;

	if (call->request.operation == S3_GET && status >= 200 && status < 300) {
		uint64_t offset = call->received;

		call->received += length;
		return call->request.write(call->request.arg, bytes, length, offset);
	}
	/* More than the ceiling is no error document of S3's: what came first is enough. */
	buf_put(&call->body, bytes, length);
	return 0;
}

static int64_t header_number(const struct http_answer *answer, const char *name, int64_t scale)
{
	const char *text = http_header(answer, name);
	uint64_t number;

	return text && parse_u64(text, 0, 86400000, &number) == 0 ? (int64_t)number * scale : -1;
}

static int64_t asked_delay_ms(const struct http_answer *answer)
{
	int64_t asked = header_number(answer, "x-amz-retry-after", 1);

	return asked >= 0 ? asked : header_number(answer, "retry-after", MSEC_PER_SEC);
}

/* Seconds that the server's clock is ahead of ours, by the answer's Date; 0 when it has none. */
static int64_t answer_skew_s(const struct http_answer *answer)
{
	const char *date = http_header(answer, "date");
	struct tm tm = {0};

	if (!date || !strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		return 0;
	return timegm(&tm) - wall_ms() / MSEC_PER_SEC;
}

static void copy_header(const struct http_answer *answer, const char *name, char *out, size_t size)
{
	const char *value = http_header(answer, name);

	if (value && strlen(value) < size)
		memcpy(out, value, strlen(value) + 1);
}

static void read_headers(const struct http_answer *answer, struct s3_response *response)
{
	const char *checksum = http_header(answer, "x-amz-checksum-sha256");
	const char *type = http_header(answer, "x-amz-checksum-type"),
		   *length = http_header(answer, "content-length");
	char etag[JOB_ETAG_MAX + 2] = "";

	/* A checksum of parts ("…-3") does not decode. */
	if (checksum && (!type || strcmp(type, "COMPOSITE") != 0))
		response->has_sha256 = base64_decode(checksum, response->sha256, JOB_SHA256_BYTES) == 0;
	copy_header(answer, "etag", etag, sizeof(etag));
	size_t etag_length = strlen(etag), quoted = etag_length >= 2 && *etag == '"' && etag[etag_length - 1] == '"';

	snprintf(response->etag, sizeof(response->etag), "%.*s", (int)(etag_length - 2 * quoted), etag + quoted);
	copy_header(answer, "x-amz-version-id", response->version_id, sizeof(response->version_id));
	if (!length || parse_u64(length, 0, UINT64_MAX, &response->size_bytes) < 0)
		response->size_bytes = 0;
}

static void read_error(
	const struct s3_call *call, const struct http_answer *answer, struct s3_response *response, bool is_error)
{
	struct s3_error *error = &response->error;
	struct xml_error xml = {0};

	error->status = answer->status;
	error->fault = answer->fault;
	if (is_error && call->body.length && xml_parse_error(call->body.data, call->body.length, &xml))
		snprintf(error->code, sizeof(error->code), "%s", *xml.code ? xml.code : "Error");
	snprintf(error->request_id, sizeof(error->request_id), "%s", xml.request_id);
	if (!*error->request_id)
		copy_header(answer, "x-amz-request-id", error->request_id, sizeof(error->request_id));
	error->class = s3_error_class(answer->status, error->code, answer->fault);
	error->ambiguous = writes(call) && answer->body_sent && error->class != S3_OK &&
			   s3_error_ambiguous(answer->status, answer->fault);
}

/* True if the answer says that the bucket is in another region than was signed for, and the endpoint now goes there. */
static bool redirect(struct s3_call *call, const struct http_answer *answer)
{
	struct s3_client *client = call->client;
	const char *region = http_header(answer, "x-amz-bucket-region");
	struct endpoint endpoint;

	if (answer->status < 300 || call->redirected || !region || !strcmp(region, client->endpoint.region))
		return false;
	call->redirected = true;
	if (client->endpoint.custom) {
		if (strlen(region) >= sizeof(client->endpoint.region))
			return false;
		memcpy(client->endpoint.region, region, strlen(region) + 1);
		return true;
	}
	if (endpoint_init(&endpoint, NULL, region, client->bucket, client->addressing) < 0)
		return false;
	client->endpoint = endpoint;
	return true;
}

/* A HEAD's 403 has no code: then a Date far from ours says the same. */
static bool correct_clock(struct s3_call *call, const struct http_answer *answer, const struct s3_error *error)
{
	int64_t skew = answer_skew_s(answer), change = skew - call->client->skew_s;

	if (call->corrected || (error->class != S3_SKEWED && (answer->status != 403 || *error->code)))
		return false;
	if (change > -SKEW_MAX_S && change < SKEW_MAX_S)
		return false;
	call->corrected = true;
	call->client->skew_s = skew;
	return true;
}

static bool leave_out(struct s3_call *call, const struct http_answer *answer)
{
	if (answer->status != 501 || !call->sent_optional)
		return false;
	call->client->without |= call->sent_optional;
	return true;
}

static double random_unit(void)
{
	uint32_t bits = 0;

	if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits))
		return 1;
	return (double)bits / UINT32_MAX;
}

static bool retry(struct s3_call *call, const struct http_answer *answer, const struct s3_error *error)
{
	if (error->ambiguous)
		return false;
	int taken = retry_take(&call->client->tokens, error->class, call->attempt);

	if (!taken)
		return false;
	call->taken = taken;
	call->due_ms =
		clock_ms() + retry_delay_ms(error->class, call->attempt, random_unit(), asked_delay_ms(answer));
	call->attempt++;
	return true;
}

static bool is_down(const struct s3_error *error)
{
	return (error->status >= 500 && error->class != S3_THROTTLED) ||
	       (error->status == 0 && error->class == S3_TRANSIENT);
}

static void on_done(void *arg, const struct http_answer *answer)
{
	struct s3_call *call = arg;
	struct s3_response response = {.attempts = call->attempt};
	bool get_ok = call->request.operation == S3_GET && answer->status >= 200 && answer->status < 300;

	call->transfer = NULL;
	read_error(call, answer, &response, !get_ok);
	call->was_up |= !is_down(&response.error);
	response.error.endpoint_down = !call->was_up;
	if (response.error.class == S3_OK) {
		retry_give_back(&call->client->tokens, call->taken);
		read_headers(answer, &response);
		if (call->request.operation == S3_GET)
			response.size_bytes = call->received;
	} else if (redirect(call, answer) || correct_clock(call, answer, &response.error) ||
		   leave_out(call, answer)) {
		call->due_ms = 0;
		return;
	} else if (retry(call, answer, &response.error))
		return;
	finish(call, &response);
}

/* Begins an attempt; without credentials or memory the call ends at once. */
static void send_attempt(struct s3_call *call)
{
	struct s3_client *client = call->client;
	struct s3_response response = {.error = {.class = S3_TRANSIENT, .fault = HTTP_FAULT_OTHER}};
	_cleanup_(request_wire_done) struct request_wire wire = {0};
	char why[CREDS_ERROR_MAX] = "";
	struct request_context context = {.endpoint = &client->endpoint,
		.bucket = client->bucket,
		.without = client->without,
		.now = wall_ms() / MSEC_PER_SEC + client->skew_s};

	if (creds_get(client->provider, &context.creds, why) < 0) {
		response.error.class = S3_NO_CREDENTIALS;
		finish(call, &response);
		return;
	}
	call->received = 0;
	buf_reset(&call->body);
	if (request_build(&wire, &context, &call->request) < 0) {
		finish(call, &response);
		return;
	}
	call->sent_optional = wire.optional;
	struct http_request http = {.method = wire.method,
		.url = wire.url.data,
		.headers = wire.headers,
		.n_headers = wire.n_headers,
		.read = on_read,
		.write = on_write,
		.done = on_done,
		.arg = call,
		.body_length = call->request.operation == S3_PUT ? call->request.size_bytes : 0,
		.stall_seconds = call->request.operation == S3_COPY ? STALL_COPY_SECONDS : STALL_SECONDS};

	if (http_start(client->http, &http, &call->transfer) < 0)
		finish(call, &response);
}

int s3_call_start(struct s3_client *client, const struct s3_request *request, struct s3_call **ret)
{
	struct s3_call *call = calloc(1, sizeof(*call));

	if (!call)
		return -ENOMEM;
	*call = (struct s3_call){.client = client,
		.request = *request,
		.attempt = request->attempts_before + 1,
		.body = {.max = ERROR_BODY_MAX}};
	call->next = client->calls;
	call->link = &client->calls;
	if (call->next)
		call->next->link = &call->next;
	client->calls = call;
	*ret = call;
	return 0;
}

void s3_call_cancel(struct s3_call *call)
{
	if (!call)
		return;
	http_cancel(call->transfer);
	call_free(call);
}

void s3_client_wait(struct s3_client *client, struct pollfd *fds, size_t n_fds, int timeout_ms)
{
	int64_t now = clock_ms();

	for (const struct s3_call *call = client->calls; call; call = call->next) {
		if (!call->transfer && call->due_ms - now < timeout_ms)
			timeout_ms = call->due_ms > now ? (int)(call->due_ms - now) : 0;
	}
	http_wait(client->http, fds, n_fds, timeout_ms);
}

/* One call that is due, or NULL. Starting one may end it, and any other may begin or end in its done. */
static struct s3_call *next_due(struct s3_client *client, int64_t now)
{
	for (struct s3_call *call = client->calls; call; call = call->next) {
		if (!call->transfer && call->due_ms <= now)
			return call;
	}
	return NULL;
}

void s3_client_run(struct s3_client *client)
{
	struct s3_call *call;
	int64_t now = clock_ms();

	while ((call = next_due(client, now)))
		send_attempt(call);
	http_run(client->http);
}
