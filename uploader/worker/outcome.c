#include "uploader/worker/outcome.h"

#include <stdio.h>
#include <string.h>

/* Codes that need a person, in a person's words. The first %s, where there is one, is the bucket. */
static const struct {
	const char *code, *text;
} causes[] = {
	{"AccessDenied", "S3 denies access to bucket %s: allow these credentials s3:PutObject, s3:GetObject and "
			 "s3:ListBucket on it"},
	{"AllAccessDisabled", "all access to bucket %s is switched off: ask its owner"},
	{"AccountProblem", "there is a problem with the S3 account of bucket %s: ask its owner"},
	{"SignatureDoesNotMatch", "S3 does not accept the signature: check AWS_SECRET_ACCESS_KEY and AWS_REGION"},
	{"InvalidAccessKeyId", "S3 does not know the access key: check AWS_ACCESS_KEY_ID"},
	{"InvalidToken", "S3 does not accept the session token: check AWS_SESSION_TOKEN"},
	{"ExpiredToken", "the session token has expired: give new credentials"},
	{"TokenRefreshRequired", "the session token has expired: give new credentials"},
	{"NoSuchBucket", "bucket %s does not exist: create it, or mend EBBFS_TARGET"},
	{"InvalidBucketName", "%s is not a valid bucket name: mend EBBFS_TARGET"},
	{"InvalidBucketState", "bucket %s is in a state that forbids this request"},
	{"PermanentRedirect",
		"bucket %s is to be reached at another endpoint: check AWS_REGION and AWS_ENDPOINT_URL"},
	{"AuthorizationHeaderMalformed", "S3 expects another region for bucket %s: check AWS_REGION"},
	{"IllegalLocationConstraintException", "bucket %s is in another region: check AWS_REGION"},
	{"RequestTimeTooSkewed", "the clock of this machine is wrong: set it"},
	{"EntityTooLarge", "the file is larger than this server accepts"},
	{"KeyTooLongError", "the key is longer than this server accepts: shorten the prefix or the file's name"},
	{"MetadataTooLarge", "the server does not accept the metadata"},
	{"QuotaExceeded", "the quota of bucket %s is used up: raise it"},
	{"NotImplemented", "the server does not implement what ebbfs needs"},
	{"InvalidObjectState", "the object is archived: restore it first"},
	{"ObjectLocked", "the object is locked against changes"},
	{"KMS.DisabledException", "the encryption key of bucket %s is disabled"},
	{"KMS.NotFoundException", "the encryption key of bucket %s does not exist"},
};

static const char *fault_text(enum http_fault fault)
{
	switch (fault) {
	case HTTP_FAULT_RESOLVE:
		return "the name of the endpoint has no address";
	case HTTP_FAULT_CONNECT:
		return "the endpoint refuses the connection or cannot be reached";
	case HTTP_FAULT_TLS:
		return "the TLS handshake failed (TLS 1.2 or newer is needed)";
	case HTTP_FAULT_TIMEOUT:
		return "the endpoint did not answer in time";
	case HTTP_FAULT_RESET:
		return "the connection was cut off";
	case HTTP_FAULT_CERTIFICATE:
		return "the certificate of the endpoint is not trusted: check AWS_ENDPOINT_URL, or put its authority "
		       "into AWS_CA_BUNDLE";
	case HTTP_FAULT_NONE:
	case HTTP_FAULT_CALLBACK:
	case HTTP_FAULT_OTHER:
		break;
	}
	return "the request could not be made";
}

static const char *cause_of_code(const char *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++) {
		if (!strcmp(causes[i].code, code))
			return causes[i].text;
	}
	return NULL;
}

static const char *cause_of_status(int status)
{
	switch (status) {
	case 301:
	case 307:
		return cause_of_code("PermanentRedirect");
	case 401:
	case 403:
		return cause_of_code("AccessDenied");
	case 404:
		return "S3 knows no such bucket or object: check EBBFS_TARGET (bucket %s)";
	case 413:
		return cause_of_code("EntityTooLarge");
	case 501:
		return cause_of_code("NotImplemented");
	default:
		return "S3 refuses the request";
	}
}

/* The server's own words, as far as they are one word. */
static int word(const char *text)
{
	return (int)strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_+/=");
}

static void put_code(char *text, size_t size, const struct s3_error *error, const char *doing)
{
	size_t at = strlen(text);

	if (error->status && *error->code)
		snprintf(text + at, size - at, " (%s: %d %.*s", doing, error->status, word(error->code), error->code);
	else if (error->status)
		snprintf(text + at, size - at, " (%s: %d", doing, error->status);
	else
		snprintf(text + at, size - at, " (%s", doing);
	at = strlen(text);
	snprintf(text + at, size - at, "%s%.*s)", *error->request_id ? ", request " : "", word(error->request_id),
		error->request_id);
}

void outcome_of_error(struct job_result *result, const struct s3_error *error, const char *doing, const char *bucket)
{
	bool for_now = error->class == S3_TRANSIENT || error->class == S3_THROTTLED;
	const char *cause = cause_of_code(error->code);

	result->outcome = for_now ? JOB_RETRY : JOB_PARKED;
	result->http_status = (uint16_t)error->status;
	result->endpoint_down = for_now && error->endpoint_down;
	if (error->class == S3_NO_CREDENTIALS) {
		snprintf(result->text, sizeof(result->text),
			"no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
			"AWS_SHARED_CREDENTIALS_FILE and AWS_PROFILE, in the uploader's environment");
		return;
	}
	if (error->class == S3_STOPPED) {
		result->outcome = JOB_CHANGED;
		snprintf(result->text, sizeof(result->text), "the file changed while it was sent");
		return;
	}
	if (error->class == S3_THROTTLED)
		cause = "S3 asks for fewer requests";
	else if (error->status == 0)
		cause = fault_text(error->fault);
	else if (for_now)
		cause = "S3 could not do it for now";
	else if (error->class == S3_SKEWED)
		cause = cause_of_code("RequestTimeTooSkewed");
	else if (!cause)
		cause = cause_of_status(error->status);

	const char *hole = strstr(cause, "%s");

	if (hole)
		snprintf(
			result->text, sizeof(result->text), "%.*s%s%s", (int)(hole - cause), cause, bucket, hole + 2);
	else
		snprintf(result->text, sizeof(result->text), "%s", cause);
	put_code(result->text, sizeof(result->text), error, doing);
}
