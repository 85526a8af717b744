#include "uploader/s3/sigv4.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "uploader/base/units.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define SHA256_BYTES 32
#define KEY_PREFIX "AWS4"

static bool is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

int sigv4_uri_encode(struct buf *buf, const char *text, bool keep_slash)
{
	for (; *text; text++) {
		if (is_unreserved(*text) || (keep_slash && *text == '/'))
			buf_put(buf, text, 1);
		else
			buf_putf(buf, "%%%02X", (unsigned)(unsigned char)*text);
	}
	return buf->error;
}

const char *sigv4_date(time_t now, char out[static SIGV4_DATE_BYTES])
{
	struct tm tm;

	if (!gmtime_r(&now, &tm) || strftime(out, SIGV4_DATE_BYTES, "%Y%m%dT%H%M%SZ", &tm) == 0)
		memcpy(out, "19700101T000000Z", SIGV4_DATE_BYTES);
	return out;
}

static int compare_names(const void *a, const void *b)
{
	const struct sigv4_pair *left = a, *right = b;

	return strcasecmp(left->name, right->name);
}

static int compare_encoded(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted by the encoded name=value: '=' sorts below every byte of an encoded name but '-', '.' and digits, which S3's
 * own parameter names never have where another's ends. */
int sigv4_query(struct buf *buf, const struct sigv4_pair *query, size_t n_query)
{
	struct buf parts[SIGV4_PAIRS_MAX] = {0};
	const char *sorted[SIGV4_PAIRS_MAX];

	if (n_query > SIGV4_PAIRS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < n_query; i++) {
		sigv4_uri_encode(&parts[i], query[i].name, false);
		buf_put_text(&parts[i], "=");
		sigv4_uri_encode(&parts[i], query[i].value, false);
		if (parts[i].error)
			buf->error = parts[i].error;
		sorted[i] = parts[i].data;
	}
	if (!buf->error)
		qsort((void *)sorted, n_query, sizeof(sorted[0]), compare_encoded);
	for (size_t i = 0; i < n_query && !buf->error; i++)
		buf_putf(buf, "%s%s", i ? "&" : "", sorted[i]);
	for (size_t i = 0; i < n_query; i++)
		buf_done(&parts[i]);
	return buf->error;
}

static void put_lower(struct buf *buf, const char *text)
{
	for (; *text; text++) {
		char c = *text >= 'A' && *text <= 'Z' ? (char)(*text | 0x20) : *text;

		buf_put(buf, &c, 1);
	}
}

/* Without blanks at its ends, and with one for each run of them inside. */
static void put_trimmed(struct buf *buf, const char *text)
{
	size_t length;

	text += strspn(text, " \t");
	while ((length = strcspn(text, " \t")) > 0) {
		buf_put(buf, text, length);
		text += length;
		text += strspn(text, " \t");
		if (*text)
			buf_put_text(buf, " ");
	}
}

static int sort_headers(const struct sigv4_request *request, struct sigv4_pair sorted[static SIGV4_PAIRS_MAX])
{
	if (request->n_headers > SIGV4_PAIRS_MAX)
		return -E2BIG;
	memcpy(sorted, request->headers, request->n_headers * sizeof(sorted[0]));
	qsort(sorted, request->n_headers, sizeof(sorted[0]), compare_names);
	return 0;
}

static void put_signed_names(struct buf *buf, const struct sigv4_pair *sorted, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_put_text(buf, i ? ";" : "");
		put_lower(buf, sorted[i].name);
	}
}

int sigv4_canonical_request(struct buf *buf, const struct sigv4_request *request)
{
	struct sigv4_pair sorted[SIGV4_PAIRS_MAX];
	int r = sort_headers(request, sorted);

	if (r < 0)
		return r;
	buf_putf(buf, "%s\n%s\n", request->method, request->path);
	r = sigv4_query(buf, request->query, request->n_query);
	if (r < 0)
		return r;
	buf_put_text(buf, "\n");
	for (size_t i = 0; i < request->n_headers; i++) {
		put_lower(buf, sorted[i].name);
		buf_put_text(buf, ":");
		put_trimmed(buf, sorted[i].value);
		buf_put_text(buf, "\n");
	}
	buf_put_text(buf, "\n");
	put_signed_names(buf, sorted, request->n_headers);
	return buf_putf(buf, "\n%s", request->payload_hash);
}

static void put_scope(struct buf *buf, const struct sigv4_scope *scope)
{
	char date[SIGV4_DATE_BYTES];

	buf_putf(buf, "%.8s/%s/%s/aws4_request", sigv4_date(scope->now, date), scope->region, scope->service);
}

int sigv4_string_to_sign(struct buf *buf, const struct sigv4_scope *scope, const char *canonical)
{
	char date[SIGV4_DATE_BYTES], hex[SIGV4_HEX_BYTES];
	uint8_t digest[SHA256_BYTES];

	if (!EVP_Digest(canonical, strlen(canonical), digest, NULL, EVP_sha256(), NULL))
		return -EIO;
	hex_encode(digest, sizeof(digest), hex);
	buf_putf(buf, ALGORITHM "\n%s\n", sigv4_date(scope->now, date));
	put_scope(buf, scope);
	return buf_putf(buf, "\n%s", hex);
}

/* key ← HMAC(key, text): the chain from the secret to the signature. */
static bool chain(uint8_t *key, size_t key_length, const char *text)
{
	return HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)text, strlen(text), key, NULL);
}

int sigv4_signature(const char *secret_key, const struct sigv4_scope *scope, const char *string_to_sign,
	char ret_hex[static SIGV4_HEX_BYTES])
{
	size_t length = strlen(KEY_PREFIX) + strlen(secret_key);
	size_t room = length < SHA256_BYTES ? SHA256_BYTES : length + 1;
	uint8_t *key = OPENSSL_malloc(room);
	char date[SIGV4_DATE_BYTES];

	if (!key)
		return -ENOMEM;
	snprintf((char *)key, room, KEY_PREFIX "%s", secret_key);
	sigv4_date(scope->now, date);
	date[8] = '\0';

	bool ok = chain(key, length, date) && chain(key, SHA256_BYTES, scope->region) &&
		  chain(key, SHA256_BYTES, scope->service) && chain(key, SHA256_BYTES, "aws4_request") &&
		  chain(key, SHA256_BYTES, string_to_sign);

	if (ok)
		hex_encode(key, SHA256_BYTES, ret_hex);
	OPENSSL_clear_free(key, room);
	return ok ? 0 : -EIO;
}

int sigv4_authorization(struct buf *buf, const struct sigv4_request *request, const struct sigv4_scope *scope,
	const char *access_key, const char *secret_key)
{
	_cleanup_buf_ struct buf canonical = {0}, to_sign = {0};
	struct sigv4_pair sorted[SIGV4_PAIRS_MAX];
	char signature[SIGV4_HEX_BYTES];
	int r;

	if ((r = sort_headers(request, sorted)) < 0 || (r = sigv4_canonical_request(&canonical, request)) < 0 ||
		(r = sigv4_string_to_sign(&to_sign, scope, canonical.data)) < 0 ||
		(r = sigv4_signature(secret_key, scope, to_sign.data, signature)) < 0)
		return r;
	buf_putf(buf, ALGORITHM " Credential=%s/", access_key);
	put_scope(buf, scope);
	buf_put_text(buf, ",SignedHeaders=");
	put_signed_names(buf, sorted, request->n_headers);
	return buf_putf(buf, ",Signature=%s", signature);
}
