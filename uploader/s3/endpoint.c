#include "uploader/s3/endpoint.h"

#include <stdarg.h>
#include <string.h>

#include "uploader/s3/sigv4.h"

#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
#define REGION_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

static int __attribute__((format(printf, 3, 4))) print(char *out, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int length = vsnprintf(out, size, format, args);

	va_end(args);
	return length >= 0 && (size_t)length < size ? 0 : -EINVAL;
}

/* A bucket with dots breaks the wildcard certificate, and one with capitals or underscores is no host name. */
static bool fits_host(const char *bucket)
{
	return strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(bucket);
}

/* Splits http(s)://host[:port][/base]. User names, queries and fragments are refused by the host's characters. */
static int parse_url(struct endpoint *endpoint, const char *url, char host[static ENDPOINT_HOST_MAX])
{
	bool tls = !strncmp(url, "https://", 8);

	if (!tls && strncmp(url, "http://", 7) != 0)
		return -EINVAL;
	url += tls ? 8 : 7;
	size_t length = strspn(url, HOST_CHARACTERS);
	const char *base = url + length, *port = tls ? ":443" : ":80";
	size_t base_length = strlen(base);

	if (length == 0 || length >= ENDPOINT_HOST_MAX || (*base && *base != '/') || strpbrk(base, "?#@ "))
		return -EINVAL;
	while (base_length && base[base_length - 1] == '/')
		base_length--;
	memcpy(host, url, length);
	host[length] = '\0';
	if (length > strlen(port) && !strcmp(host + length - strlen(port), port))
		host[length - strlen(port)] = '\0';
	if (print(endpoint->base, sizeof(endpoint->base), "%.*s", (int)base_length, base) < 0)
		return -EINVAL;
	return print(endpoint->scheme, sizeof(endpoint->scheme), "%s", tls ? "https" : "http");
}

int endpoint_init(struct endpoint *ret, const char *url, const char *region, const char *bucket,
	enum config_addressing addressing)
{
	struct endpoint endpoint = {.custom = url && *url};
	char host[ENDPOINT_HOST_MAX];
	size_t region_length = strspn(region, REGION_CHARACTERS);

	if (region_length == 0 || region[region_length] || region_length >= sizeof(endpoint.region))
		return -EINVAL;
	memcpy(endpoint.region, region, region_length);
	if (endpoint.custom) {
		if (parse_url(&endpoint, url, host) < 0)
			return -EINVAL;
	} else {
		const char *suffix = !strncmp(region, "cn-", 3) ? ".cn" : "";

		if (print(host, sizeof(host), "s3.%s.amazonaws.com%s", region, suffix) < 0)
			return -EINVAL;
		memcpy(endpoint.scheme, "https", sizeof("https"));
	}
	endpoint.virtual_host = addressing == CONFIG_ADDRESSING_VIRTUAL ||
				(addressing == CONFIG_ADDRESSING_AUTO && !endpoint.custom && fits_host(bucket));
	if (endpoint.virtual_host) {
		if (print(endpoint.host, sizeof(endpoint.host), "%s.%s", bucket, host) < 0)
			return -EINVAL;
	} else {
		_cleanup_buf_ struct buf base = {0};

		buf_putf(&base, "%s/", endpoint.base);
		sigv4_uri_encode(&base, bucket, false);
		if (base.error || print(endpoint.base, sizeof(endpoint.base), "%s", base.data) < 0 ||
			print(endpoint.host, sizeof(endpoint.host), "%s", host) < 0)
			return -EINVAL;
	}
	*ret = endpoint;
	return 0;
}

int endpoint_path(struct buf *buf, const struct endpoint *endpoint, const char *key)
{
	buf_putf(buf, "%s/", endpoint->base);
	return sigv4_uri_encode(buf, key, true);
}
