/* What went wrong with a request, reduced to what decides what happens next. Pure; any thread. */
#ifndef EBBFS_S3_ERROR_H
#define EBBFS_S3_ERROR_H

#include <stdbool.h>

#include "uploader/s3/http.h"
#include "uploader/s3/xml.h"

/* The class decides; status, code and fault are for people. */
enum s3_class {
	S3_OK,
	S3_TRANSIENT,      /* may work the next time */
	S3_THROTTLED,      /* will work later, and slower */
	S3_SKEWED,         /* our clock differs too much from the server's */
	S3_NOT_FOUND,      /* no such key; not: no such bucket */
	S3_REFUSED,        /* will not work until a person changes something */
	S3_NO_CREDENTIALS, /* none were found: nothing was sent */
	S3_STOPPED,        /* one of our own callbacks ended it */
};

struct s3_error {
	enum s3_class class;
	enum http_fault fault;
	int status; /* 0: no answer */
	char code[XML_CODE_MAX];
	char request_id[XML_REQUEST_ID_MAX];
	bool ambiguous;     /* it may have been done all the same: look before doing it again */
	bool endpoint_down; /* every attempt met an endpoint that answers nobody, or 5xx */
};

/* code: "" when the answer had none (a HEAD has no body). */
enum s3_class s3_error_class(int status, const char *code, enum http_fault fault) _must_check_;

/* Whether an answer like this leaves open if a PUT whose body was sent took place. */
bool s3_error_ambiguous(int status, enum http_fault fault) _must_check_;

#endif
