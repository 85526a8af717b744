#include "uploader/s3/error.h"

#include <string.h>

/* Codes of the S3 API reference ("Error responses") and of the AWS SDKs' standard retry mode. */
static const struct {
	const char *code;
	enum s3_class class;
} codes[] = {
	{"SlowDown", S3_THROTTLED},
	{"Throttling", S3_THROTTLED},
	{"ThrottlingException", S3_THROTTLED},
	{"ThrottledException", S3_THROTTLED},
	{"RequestThrottled", S3_THROTTLED},
	{"RequestThrottledException", S3_THROTTLED},
	{"RequestLimitExceeded", S3_THROTTLED},
	{"BandwidthLimitExceeded", S3_THROTTLED},
	{"LimitExceededException", S3_THROTTLED},
	{"TooManyRequestsException", S3_THROTTLED},
	{"PriorRequestNotComplete", S3_THROTTLED},
	{"EC2ThrottledException", S3_THROTTLED},
	{"RequestTimeout", S3_TRANSIENT},
	{"RequestTimeoutException", S3_TRANSIENT},
	{"InternalError", S3_TRANSIENT},
	{"ServiceUnavailable", S3_TRANSIENT},
	{"OperationAborted", S3_TRANSIENT},
	{"ConditionalRequestConflict", S3_TRANSIENT},
	{"IncompleteBody", S3_TRANSIENT},
	{"BadDigest", S3_TRANSIENT}, /* the bytes were damaged on the way, or changed: looked at again by the job */
	{"XAmzContentSHA256Mismatch", S3_TRANSIENT},
	{"RequestTimeTooSkewed", S3_SKEWED},
	{"RequestExpired", S3_SKEWED},
	{"RequestInTheFuture", S3_SKEWED},
	{"NoSuchKey", S3_NOT_FOUND},
	{"NoSuchVersion", S3_NOT_FOUND},
	{"NoSuchBucket", S3_REFUSED},
	{"NotImplemented", S3_REFUSED},
};

static enum s3_class fault_class(enum http_fault fault)
{
	switch (fault) {
	case HTTP_FAULT_NONE:
		return S3_OK;
	case HTTP_FAULT_CERTIFICATE:
		return S3_REFUSED;
	case HTTP_FAULT_CALLBACK:
		return S3_STOPPED;
	case HTTP_FAULT_RESOLVE:
	case HTTP_FAULT_CONNECT:
	case HTTP_FAULT_TLS:
	case HTTP_FAULT_TIMEOUT:
	case HTTP_FAULT_RESET:
	case HTTP_FAULT_OTHER:
		break;
	}
	return S3_TRANSIENT;
}

static enum s3_class status_class(int status)
{
	switch (status) {
	case 404:
		return S3_NOT_FOUND;
	case 429:
		return S3_THROTTLED;
	case 408:
	case 500:
	case 502:
	case 503:
	case 504:
		return S3_TRANSIENT;
	case 501:
	case 505:
		return S3_REFUSED;
	default:
		/* Gateways have numbers of their own (507, 520–530): none of them is the request's fault. */
		return status >= 500 ? S3_TRANSIENT : S3_REFUSED;
	}
}

enum s3_class s3_error_class(int status, const char *code, enum http_fault fault)
{
	/* A server may refuse before it has read the whole body and then close: its answer counts, not the reset. */
	if (fault == HTTP_FAULT_CALLBACK || (fault != HTTP_FAULT_NONE && status < 300))
		return fault_class(fault);
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		if (!strcmp(codes[i].code, code))
			return codes[i].class;
	}
	if (status >= 200 && status < 300)
		return *code ? S3_REFUSED : S3_OK;
	return status_class(status);
}

bool s3_error_ambiguous(int status, enum http_fault fault)
{
	/* 503 is S3's way to say that it did not begin. */
	if (status >= 300)
		return status == 500 || status == 502 || status == 504;
	return fault == HTTP_FAULT_TIMEOUT || fault == HTTP_FAULT_RESET || fault == HTTP_FAULT_OTHER;
}
