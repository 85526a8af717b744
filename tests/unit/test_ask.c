/* The codec and the client of the status socket: what it accepts, and that nothing else gets through. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fusefs/policy/ask.h"
#include "uploader/base/sock.h"

static void round_trip(void **state)
{
	(void)state;
	static const char *const paths[] = {"", "a", "a/b c/\n\xff", "x"};
	struct ask_request longest = {.type = ASK_LIST}, out;
	_cleanup_buf_ struct buf buf = {0};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct ask_request in = {.type = i % 2 ? ASK_LIST : ASK_STATUS};

		snprintf(in.path, sizeof(in.path), "%s", paths[i]);
		assert_int_equal(ask_encode(&buf, &in), 0);
		assert_int_equal(ask_decode(buf.data, buf.length, &out), 0);
		assert_int_equal(out.type, in.type);
		assert_string_equal(out.path, in.path);
	}
	memset(longest.path, 'p', sizeof(longest.path) - 1);
	assert_int_equal(ask_encode(&buf, &longest), 0);
	assert_true(buf.length <= ASK_REQUEST_MAX);
	assert_int_equal(ask_decode(buf.data, buf.length, &out), 0);
	assert_string_equal(out.path, longest.path);
	memset(longest.path, 'p', sizeof(longest.path));
	assert_int_equal(ask_encode(&buf, &longest), -E2BIG);
}

static void every_cut_is_refused(void **state)
{
	(void)state;
	struct ask_request in = {.type = ASK_LIST, .path = "some/path"},
			   out = {.type = ASK_STATUS, .path = "untouched"};
	_cleanup_buf_ struct buf buf = {0};

	assert_int_equal(ask_encode(&buf, &in), 0);
	for (size_t length = 0; length < buf.length; length++)
		assert_int_equal(ask_decode(buf.data, length, &out), -EBADMSG);
	assert_int_equal(buf_put_u8(&buf, 0), 0);
	assert_int_equal(ask_decode(buf.data, buf.length, &out), -EBADMSG);
	assert_string_equal(out.path, "untouched");
}

static void foreign_fields_are_refused(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		char value;
	} changes[] = {{0, 'x'}, {5, ASK_VERSION + 1}, {7, 0}, {7, ASK_LIST + 1}, {6, 1}, {10, '\0'}};
	struct ask_request in = {.type = ASK_LIST, .path = "abc"}, out;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		_cleanup_buf_ struct buf buf = {0};

		assert_int_equal(ask_encode(&buf, &in), 0);
		buf.data[changes[i].at] = changes[i].value;
		assert_int_equal(ask_decode(buf.data, buf.length, &out), -EBADMSG);
	}
}

/* A server for one question: answers with packets, then closes. */
struct server {
	char run[64];
	int fd;
	int32_t answer;
	const char *const *packets;
	bool silent;
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	_cleanup_close_ int client = accept(server->fd, NULL, NULL);
	_cleanup_buf_ struct buf head = {0};
	char bytes[ASK_REQUEST_MAX];
	struct ask_request request;
	ssize_t n = sock_receive(client, bytes, sizeof(bytes), NULL, 0, NULL);

	if (n <= 0 || ask_decode(bytes, (size_t)n, &request) < 0)
		return NULL;
	if (server->silent) {
		(void)!sock_receive(client, bytes, sizeof(bytes), NULL, 0, NULL);
		return NULL;
	}
	buf_put_u32(&head, (uint32_t)server->answer);
	(void)!sock_send(client, head.data, head.length, NULL, 0);
	for (const char *const *packet = server->packets; packet && *packet; packet++)
		(void)!sock_send(client, *packet, strlen(*packet), NULL, 0);
	return NULL;
}

static void start(struct server *server)
{
	snprintf(server->run, sizeof(server->run), "/tmp/ebbfs-test-ask-XXXXXX");
	assert_non_null(mkdtemp(server->run));
	server->fd = sock_listen(server->run, ASK_SOCKET_STATUS, 0600);
	assert_true(server->fd >= 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void remove_socket(const struct server *server)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" ASK_SOCKET_STATUS, server->run);
	unlink(path);
	rmdir(server->run);
}

static void stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->fd);
	remove_socket(server);
}

static void packets_are_joined(void **state)
{
	(void)state;
	static const char *const packets[] = {"{\"a\":", "1", "}", NULL};
	struct server server = {.packets = packets};
	struct ask_request request = {.type = ASK_STATUS};
	_cleanup_buf_ struct buf json = {0};
	int answer = 1;

	start(&server);
	assert_int_equal(ask(server.run, &request, 5000, &json, &answer), 0);
	stop(&server);
	assert_int_equal(answer, 0);
	assert_string_equal(json.data, "{\"a\":1}");
}

static void errno_of_the_answer(void **state)
{
	(void)state;
	struct server server = {.answer = ENOENT};
	struct ask_request request = {.type = ASK_LIST, .path = "gone"};
	_cleanup_buf_ struct buf json = {0};
	int answer = 0;

	start(&server);
	assert_int_equal(ask(server.run, &request, 5000, &json, &answer), 0);
	stop(&server);
	assert_int_equal(answer, -ENOENT);
	assert_int_equal(json.length, 0);
}

static void ceiling_and_silence(void **state)
{
	(void)state;
	static const char *const packets[] = {"0123456789", "0123456789", NULL};
	struct server large = {.packets = packets}, silent = {.silent = true};
	struct ask_request request = {.type = ASK_STATUS};
	_cleanup_buf_ struct buf json = {.max = 15};
	int answer = 0;

	start(&large);
	assert_int_equal(ask(large.run, &request, 5000, &json, &answer), -E2BIG);
	stop(&large);
	buf_reset(&json);
	start(&silent);
	assert_int_equal(ask(silent.run, &request, 50, &json, &answer), -ETIMEDOUT);
	stop(&silent);
}

static void nobody_there(void **state)
{
	(void)state;
	struct ask_request request = {.type = ASK_STATUS};
	_cleanup_buf_ struct buf json = {0};
	int answer;
	struct server server = {0};

	assert_int_equal(ask("/nonexistent", &request, 50, &json, &answer), -ENOENT);
	start(&server);
	assert_int_equal(ask(server.run, &request, 5000, &json, &answer), 0);
	pthread_join(server.thread, NULL);
	close(server.fd);
	assert_int_equal(ask(server.run, &request, 50, &json, &answer), -ECONNREFUSED);
	remove_socket(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(foreign_fields_are_refused),
		cmocka_unit_test(packets_are_joined),
		cmocka_unit_test(errno_of_the_answer),
		cmocka_unit_test(ceiling_and_silence),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
