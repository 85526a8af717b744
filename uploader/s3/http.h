/* HTTP/1.1 requests side by side in one thread: the only file that knows libcurl.
 *
 * Connections are kept and used again; TLS is 1.2 at least; redirects are never followed; paths go out as they are.
 * http_proxy, https_proxy and no_proxy mean what they mean to libcurl. One thread; every callback is called from
 * http_run(). */
#ifndef EBBFS_S3_HTTP_H
#define EBBFS_S3_HTTP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "uploader/base/cleanup.h"
#include "uploader/s3/sigv4.h"

struct http;
struct http_transfer;

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_PUT,
};

/* Why no whole answer came. libcurl's codes end here. */
enum http_fault {
	HTTP_FAULT_NONE,
	HTTP_FAULT_RESOLVE,     /* no address for the name of the endpoint or the proxy */
	HTTP_FAULT_CONNECT,     /* refused, unreachable */
	HTTP_FAULT_TLS,         /* the handshake failed */
	HTTP_FAULT_CERTIFICATE, /* the server's certificate is not trusted, or the CA bundle is unusable */
	HTTP_FAULT_TIMEOUT,
	HTTP_FAULT_RESET,    /* the connection ended, or its bytes were no HTTP */
	HTTP_FAULT_CALLBACK, /* read or write said stop */
	HTTP_FAULT_OTHER,
};

struct http_answer {
	enum http_fault fault;
	int status;         /* 0: no answer's head came */
	bool body_sent;     /* every byte of the request's body was handed over at least once */
	const void *handle; /* for http_header() */
};

struct http_request {
	enum http_method method;
	const char *url;
	const struct sigv4_pair *headers; /* copied */
	size_t n_headers;
	uint64_t body_length; /* HTTP_PUT */
	int stall_seconds;    /* without a byte either way: HTTP_FAULT_TIMEOUT */
	/* The body's bytes at an offset: their number, 1 to length, or negative to end the transfer. */
	ssize_t (*read)(void *arg, void *bytes, size_t length, uint64_t offset);
	/* A piece of the answer's body; negative ends the transfer. */
	int (*write)(void *arg, int status, const void *bytes, size_t length);
	/* Once, at the end. May start other requests; the transfer is gone when it returns. */
	void (*done)(void *arg, const struct http_answer *answer);
	void *arg;
};

/* ca_bundle: a file that takes the place of the system's, or NULL. 0, -ENOMEM or -EIO. */
int http_new(struct http **ret, const char *ca_bundle, uint32_t connections) _must_check_;
void http_free(struct http *http); /* after its transfers */

/* 0 or -ENOMEM. */
int http_start(struct http *http, const struct http_request *request, struct http_transfer **ret) _must_check_;

/* Ends a transfer without calling done. */
void http_cancel(struct http_transfer *transfer);

/* Waits for transfers or for fds (like poll(2), revents filled in, at most 8), up to timeout_ms. */
void http_wait(struct http *http, struct pollfd *fds, size_t n_fds, int timeout_ms);

/* Does what can be done without waiting. */
void http_run(struct http *http);

/* A header of the final answer, valid within done; NULL if it is not there. */
const char *http_header(const struct http_answer *answer, const char *name);

#endif
