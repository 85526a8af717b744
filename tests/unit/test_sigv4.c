/* Signing against vector files (vectors/sigv4/, one request each; a dropped-in file is a test), and the encoding of
 * paths, which is where keys differ from what most signers do. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "uploader/base/fdio.h"
#include "uploader/base/units.h"
#include "uploader/s3/sigv4.h"

static const char *vectors_directory;

struct vector {
	struct buf text;
	struct sigv4_pair query[SIGV4_PAIRS_MAX], headers[SIGV4_PAIRS_MAX];
	struct sigv4_request request;
	struct sigv4_scope scope;
	const char *key, *access, *secret, *canonical_uri, *canonical_query, *canonical_sha256, *signed_names,
		*signature;
};

static void split(char *value, const char *separator, struct sigv4_pair *ret)
{
	char *at = strstr(value, separator);

	assert_non_null(at);
	*at = '\0';
	*ret = (struct sigv4_pair){.name = value, .value = at + strlen(separator)};
}

static void read_line(struct vector *vector, const char *name, char *value)
{
	const struct {
		const char *name, **field;
	} fields[] = {{"access", &vector->access}, {"secret", &vector->secret}, {"region", &vector->scope.region},
		{"method", &vector->request.method}, {"key", &vector->key},
		{"payload", &vector->request.payload_hash}, {"canonical-uri", &vector->canonical_uri},
		{"canonical-query", &vector->canonical_query}, {"canonical-sha256", &vector->canonical_sha256},
		{"signed", &vector->signed_names}, {"signature", &vector->signature}};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!strcmp(name, fields[i].name)) {
			*fields[i].field = value;
			return;
		}
	}
	if (!strcmp(name, "now"))
		vector->scope.now = strtoll(value, NULL, 10);
	else if (!strcmp(name, "query"))
		split(value, "=", &vector->query[vector->request.n_query++]);
	else if (!strcmp(name, "header"))
		split(value, ": ", &vector->headers[vector->request.n_headers++]);
	else
		fail_msg("unknown line: %s", name);
}

static void read_vector(struct vector *vector, int dirfd, const char *name)
{
	*vector = (struct vector){.scope.service = "s3", .text.max = 65536};
	assert_int_equal(read_file(dirfd, name, &vector->text), 0);
	vector->request.query = vector->query;
	vector->request.headers = vector->headers;
	for (char *line = strtok(vector->text.data, "\n"); line; line = strtok(NULL, "\n")) {
		char *space = strchr(line, ' ');

		if (*line == '#')
			continue;
		assert_non_null(space);
		*space = '\0';
		read_line(vector, line, space + 1);
	}
}

/* The digest of the canonical request is the last line of the string to sign. */
static void check_stages(struct vector *vector)
{
	_cleanup_buf_ struct buf path = {0}, query = {0}, canonical = {0}, to_sign = {0}, header = {0}, want = {0};
	char signature[SIGV4_HEX_BYTES], date[SIGV4_DATE_BYTES];

	buf_put_text(&path, "/");
	assert_int_equal(sigv4_uri_encode(&path, vector->key, true), 0);
	assert_string_equal(path.data, vector->canonical_uri);
	vector->request.path = path.data;
	assert_int_equal(buf_put_text(&query, ""), 0);
	assert_int_equal(sigv4_query(&query, vector->query, vector->request.n_query), 0);
	assert_string_equal(query.data, vector->canonical_query);
	assert_int_equal(sigv4_canonical_request(&canonical, &vector->request), 0);
	assert_int_equal(sigv4_string_to_sign(&to_sign, &vector->scope, canonical.data), 0);
	assert_string_equal(strrchr(to_sign.data, '\n') + 1, vector->canonical_sha256);
	assert_int_equal(sigv4_signature(vector->secret, &vector->scope, to_sign.data, signature), 0);
	assert_string_equal(signature, vector->signature);
	assert_int_equal(
		sigv4_authorization(&header, &vector->request, &vector->scope, vector->access, vector->secret), 0);
	buf_putf(&want, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/s3/aws4_request,SignedHeaders=%s,Signature=%s",
		vector->access, sigv4_date(vector->scope.now, date), vector->scope.region, vector->signed_names,
		vector->signature);
	assert_string_equal(header.data, want.data);
}

static void test_vectors(void **state)
{
	(void)state;
	_cleanup_closedir_ DIR *directory = opendir(vectors_directory);
	const struct dirent *entry;
	int count = 0;

	if (!directory)
		abort();
	while ((entry = readdir(directory))) {
		struct vector vector;

		if (*entry->d_name == '.')
			continue;
		print_message("%s\n", entry->d_name);
		read_vector(&vector, dirfd(directory), entry->d_name);
		check_stages(&vector);
		buf_done(&vector.text);
		count++;
	}
	assert_true(count >= 4);
}

static void test_uri_encode(void **state)
{
	(void)state;
	static const struct {
		const char *text, *path, *query;
	} cases[] = {
		{"", "", ""},
		{"azAZ09-._~", "azAZ09-._~", "azAZ09-._~"},
		{"a b", "a%20b", "a%20b"},
		{"a+b", "a%2Bb", "a%2Bb"},
		{"a/b", "a/b", "a%2Fb"},
		{"a//b/", "a//b/", "a%2F%2Fb%2F"},
		{"../a/./b", "../a/./b", "..%2Fa%2F.%2Fb"},
		{"ü€😀", "%C3%BC%E2%82%AC%F0%9F%98%80", "%C3%BC%E2%82%AC%F0%9F%98%80"},
		{"%41", "%2541", "%2541"},
		{"?&=#$,:;@", "%3F%26%3D%23%24%2C%3A%3B%40", "%3F%26%3D%23%24%2C%3A%3B%40"},
		{"\x01\n\x7f", "%01%0A%7F", "%01%0A%7F"},
		{"!*'()", "%21%2A%27%28%29", "%21%2A%27%28%29"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf path = {0}, query = {0};

		buf_put_text(&path, "");
		buf_put_text(&query, "");
		assert_int_equal(sigv4_uri_encode(&path, cases[i].text, true), 0);
		assert_int_equal(sigv4_uri_encode(&query, cases[i].text, false), 0);
		assert_string_equal(path.data, cases[i].path);
		assert_string_equal(query.data, cases[i].query);
	}
}

static void test_canonical_form(void **state)
{
	(void)state;
	static const struct sigv4_pair headers[] = {
		{"X-Amz-Meta-A", "  two   words "}, {"Host", "h"}, {"x-amz-date", "20130524T000000Z"}, {"x-a", ""}};
	static const struct sigv4_pair query[] = {{"b", "2"}, {"a", "x y"}, {"a", "/"}};
	const struct sigv4_request request = {.method = "PUT",
		.path = "/a//../b",
		.query = query,
		.n_query = 3,
		.headers = headers,
		.n_headers = 4,
		.payload_hash = "UNSIGNED-PAYLOAD"};
	_cleanup_buf_ struct buf out = {0};

	assert_int_equal(sigv4_canonical_request(&out, &request), 0);
	assert_string_equal(out.data, "PUT\n/a//../b\na=%2F&a=x%20y&b=2\nhost:h\nx-a:\nx-amz-date:20130524T000000Z\n"
				      "x-amz-meta-a:two words\n\nhost;x-a;x-amz-date;x-amz-meta-a\nUNSIGNED-PAYLOAD");
}

static void test_too_many_pairs(void **state)
{
	(void)state;
	struct sigv4_pair pairs[SIGV4_PAIRS_MAX + 1];
	struct sigv4_request request = {.method = "GET", .path = "/", .headers = pairs, .payload_hash = ""};
	_cleanup_buf_ struct buf out = {0};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		pairs[i] = (struct sigv4_pair){.name = "a", .value = "b"};
	assert_int_equal(sigv4_query(&out, pairs, ARRAY_SIZE(pairs)), -E2BIG);
	request.n_headers = ARRAY_SIZE(pairs);
	assert_int_equal(sigv4_canonical_request(&out, &request), -E2BIG);
	request.n_headers = SIGV4_PAIRS_MAX;
	assert_int_equal(sigv4_canonical_request(&out, &request), 0);
}

static void test_date(void **state)
{
	(void)state;
	static const struct {
		time_t now;
		const char *text;
	} cases[] = {{0, "19700101T000000Z"}, {1369353600, "20130524T000000Z"}, {1709251199, "20240229T235959Z"}};
	char out[SIGV4_DATE_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(sigv4_date(cases[i].now, out), cases[i].text);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_uri_encode),
		cmocka_unit_test(test_canonical_form),
		cmocka_unit_test(test_too_many_pairs),
		cmocka_unit_test(test_date),
	};

	if (argc != 2) {
		print_error("usage: %s VECTORS\n", argv[0]);
		return 2;
	}
	vectors_directory = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
