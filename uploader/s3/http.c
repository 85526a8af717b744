#include "uploader/s3/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000L
#define IDLE_SECONDS 4L /* S3 drops idle connections after about 5 s */
#define EXPECT_ABOVE_BYTES (1U << 20)
#define FDS_MAX 8

struct http {
	CURLM *multi;
	char *ca_bundle;
};

struct http_transfer {
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct http_request request;
	uint64_t offset; /* of the body's next byte */
	bool body_sent;
};

static int http_init(struct http *http, const char *ca_bundle, uint32_t connections)
{
	http->multi = curl_multi_init();
	if (!http->multi)
		return -ENOMEM;
	if (ca_bundle && *ca_bundle && !(http->ca_bundle = strdup(ca_bundle)))
		return -ENOMEM;
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)connections);
	curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)connections);
	return 0;
}

int http_new(struct http **ret, const char *ca_bundle, uint32_t connections)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -EIO;
	struct http *http = calloc(1, sizeof(*http));
	int r = http ? http_init(http, ca_bundle, connections) : -ENOMEM;

	if (r < 0) {
		http_free(http);
		return r;
	}
	*ret = http;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	if (http->multi)
		curl_multi_cleanup(http->multi);
	free(http->ca_bundle);
	free(http);
	curl_global_cleanup();
}

static void transfer_free(struct http_transfer *transfer)
{
	if (transfer->easy) {
		curl_multi_remove_handle(transfer->http->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
	}
	curl_slist_free_all(transfer->headers);
	free(transfer);
}

static size_t on_read(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_transfer *transfer = arg;
	uint64_t left = transfer->request.body_length - transfer->offset;
	size_t want = size * n < left ? size * n : (size_t)left;

	if (want == 0)
		return 0;
	ssize_t got = transfer->request.read(transfer->request.arg, bytes, want, transfer->offset);

	if (got <= 0 || (size_t)got > want)
		return CURL_READFUNC_ABORT;
	transfer->offset += (size_t)got;
	if (transfer->offset == transfer->request.body_length)
		transfer->body_sent = true;
	return (size_t)got;
}

/* A kept connection that turns out to be dead makes libcurl begin again on a new one. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_transfer *transfer = arg;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > transfer->request.body_length)
		return CURL_SEEKFUNC_FAIL;
	transfer->offset = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_transfer *transfer = arg;
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (transfer->request.write(transfer->request.arg, (int)status, bytes, size * n) < 0)
		return CURL_WRITEFUNC_ERROR;
	return size * n;
}

static int add_header(struct http_transfer *transfer, const char *line)
{
	struct curl_slist *headers = curl_slist_append(transfer->headers, line);

	if (!headers)
		return -ENOMEM;
	transfer->headers = headers;
	return 0;
}

static int add_headers(struct http_transfer *transfer, const struct http_request *request)
{
	_cleanup_buf_ struct buf line = {0};

	for (size_t i = 0; i < request->n_headers; i++) {
		buf_reset(&line);
		/* libcurl's way to say a header without a value is a semicolon; none of ours is empty. */
		buf_putf(&line, "%s: %s", request->headers[i].name, request->headers[i].value);
		if (line.error || add_header(transfer, line.data) < 0)
			return -ENOMEM;
	}
	if (request->method == HTTP_PUT && request->body_length <= EXPECT_ABOVE_BYTES)
		return add_header(transfer, "Expect:");
	return 0;
}

static void set_options(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)request->stall_seconds);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "ebbfs/" EBBFS_VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	if (transfer->http->ca_bundle)
		curl_easy_setopt(easy, CURLOPT_CAINFO, transfer->http->ca_bundle);
	/* A directory of certificates beside the bundle would keep libcurl from caching what it parsed. */
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (request->method == HTTP_HEAD)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	if (request->method == HTTP_PUT) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_length);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
	}
}

int http_start(struct http *http, const struct http_request *request, struct http_transfer **ret)
{
	struct http_transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return -ENOMEM;
	transfer->http = http;
	transfer->request = *request;
	transfer->body_sent = request->body_length == 0;
	transfer->easy = curl_easy_init();
	if (!transfer->easy || add_headers(transfer, request) < 0) {
		transfer_free(transfer);
		return -ENOMEM;
	}
	set_options(transfer);
	if (curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK) {
		transfer_free(transfer);
		return -ENOMEM;
	}
	*ret = transfer;
	return 0;
}

void http_cancel(struct http_transfer *transfer)
{
	if (transfer)
		transfer_free(transfer);
}

void http_wait(struct http *http, struct pollfd *fds, size_t n_fds, int timeout_ms)
{
	struct curl_waitfd wait[FDS_MAX] = {0};

	/* libcurl's bits are poll's own by another name; it never writes what it was not asked for. */
	for (size_t i = 0; i < n_fds && i < FDS_MAX; i++) {
		wait[i].fd = fds[i].fd;
		wait[i].events = (short)(((fds[i].events & POLLIN) ? CURL_WAIT_POLLIN : 0) |
					 ((fds[i].events & POLLOUT) ? CURL_WAIT_POLLOUT : 0));
	}
	curl_multi_poll(http->multi, wait, (unsigned)n_fds, timeout_ms, NULL);
	for (size_t i = 0; i < n_fds && i < FDS_MAX; i++)
		fds[i].revents = (short)(((wait[i].revents & CURL_WAIT_POLLIN) ? POLLIN : 0) |
					 ((wait[i].revents & CURL_WAIT_POLLOUT) ? POLLOUT : 0));
}

static enum http_fault translate(CURLcode code)
{
	switch ((int)code) {
	case CURLE_OK:
		return HTTP_FAULT_NONE;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return HTTP_FAULT_RESOLVE;
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
		return HTTP_FAULT_CONNECT;
	case CURLE_SSL_CONNECT_ERROR:
		return HTTP_FAULT_TLS;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_ISSUER_ERROR:
		return HTTP_FAULT_CERTIFICATE;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_FAULT_TIMEOUT;
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_SEND_FAIL_REWIND:
	case CURLE_UNSUPPORTED_PROTOCOL: /* an answer that is no HTTP/1.x */
		return HTTP_FAULT_RESET;
	case CURLE_ABORTED_BY_CALLBACK:
	case CURLE_WRITE_ERROR:
	case CURLE_READ_ERROR:
		return HTTP_FAULT_CALLBACK;
	default:
		return HTTP_FAULT_OTHER;
	}
}

static void finish(struct http_transfer *transfer, CURLcode code)
{
	struct http_answer answer = {
		.fault = translate(code), .body_sent = transfer->body_sent, .handle = transfer->easy};
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	answer.status = (int)status;
	transfer->request.done(transfer->request.arg, &answer);
	transfer_free(transfer);
}

void http_run(struct http *http)
{
	int running, queued;
	const CURLMsg *message;

	curl_multi_perform(http->multi, &running);
	while ((message = curl_multi_info_read(http->multi, &queued))) {
		struct http_transfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode code = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		finish(transfer, code);
	}
}

const char *http_header(const struct http_answer *answer, const char *name)
{
	struct curl_header *header;
	CURL *easy = (CURL *)(uintptr_t)answer->handle;

	if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->value;
}
