#include "tests/unit/unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "uploader/base/sock.h"

/* Longer than sun_path. */
#define LONG_NAME                                                                                                    \
	"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"

static int pair[2];

static int make_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
	(void)state;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static int count_fds(void)
{
	_cleanup_closedir_ DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	if (!directory)
		abort();
	while (readdir(directory))
		count++;
	return count;
}

static void test_long_path(void **state)
{
	(void)state;
	char base[] = "/tmp/ebbfs-sock-XXXXXX", path[256];
	struct stat st;
	struct ucred peer;

	assert_non_null(mkdtemp(base));
	snprintf(path, sizeof(path), "%s/" LONG_NAME, base);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(sock_connect(path, "s"), -ENOENT);
	int listener = sock_listen(path, "s", 0600);

	assert_true(listener >= 0);
	close(listener);
	assert_int_equal(sock_connect(path, "s"), -ECONNREFUSED);
	listener = sock_listen(path, "s", 0660); /* over the file that was left */
	assert_true(listener >= 0);
	assert_int_equal(fcntl(listener, F_GETFD), FD_CLOEXEC);
	int client = sock_connect(path, "s");

	assert_true(client >= 0);
	assert_int_equal(sock_peer(client, &peer), 0);
	assert_int_equal(peer.pid, getpid());
	close(client);
	close(listener);
	snprintf(path, sizeof(path), "%s/" LONG_NAME "/s", base);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(base);
}

static void test_messages_keep_their_bounds(void **state)
{
	(void)state;
	char bytes[16];
	size_t n_fds = 7;

	assert_int_equal(sock_send(pair[0], "one", 3, NULL, 0), 0);
	assert_int_equal(sock_send(pair[0], "three", 5, NULL, 0), 0);
	assert_int_equal(sock_receive(pair[1], bytes, sizeof(bytes), NULL, 0, &n_fds), 3);
	assert_memory_equal(bytes, "one", 3);
	assert_int_equal(n_fds, 0);
	assert_int_equal(sock_receive(pair[1], bytes, 4, NULL, 0, NULL), -EMSGSIZE);
	close(pair[0]);
	pair[0] = -1;
	assert_int_equal(sock_receive(pair[1], bytes, sizeof(bytes), NULL, 0, NULL), 0);
	assert_int_equal(sock_send(pair[1], "x", 1, NULL, 0), -EPIPE);
}

static void test_descriptors(void **state)
{
	(void)state;
	int out[SOCK_FDS_MAX + 1], in[SOCK_FDS_MAX];
	size_t n_fds = 0;
	char byte;
	struct stat a, b;

	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		out[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(sock_send(pair[0], "x", 1, out, SOCK_FDS_MAX + 1), -E2BIG);
	assert_int_equal(sock_send(pair[0], "x", 1, out, SOCK_FDS_MAX), 0);
	assert_int_equal(sock_receive(pair[1], &byte, 1, in, SOCK_FDS_MAX, &n_fds), 1);
	assert_int_equal(n_fds, SOCK_FDS_MAX);
	for (size_t i = 0; i < n_fds; i++) {
		assert_int_equal(fcntl(in[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(fstat(in[i], &a), 0);
		assert_int_equal(fstat(out[i], &b), 0);
		assert_int_equal(a.st_rdev, b.st_rdev);
		close(in[i]);
	}
	/* More than the receiver takes: none is left open. */
	int before = count_fds();

	assert_int_equal(sock_send(pair[0], "x", 1, out, 3), 0);
	assert_int_equal(sock_receive(pair[1], &byte, 1, in, 1, &n_fds), -EMSGSIZE);
	assert_int_equal(count_fds(), before);
	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		close(out[i]);
}

static void test_full_socket(void **state)
{
	(void)state;
	static char message[60000];
	int sent = 0, r;

	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	while ((r = sock_send(pair[0], message, sizeof(message), NULL, 0)) == 0)
		sent++;
	assert_int_equal(r, -EAGAIN);
	assert_true(sent > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_path),
		cmocka_unit_test_setup_teardown(test_messages_keep_their_bounds, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_descriptors, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_full_socket, make_pair, close_pair)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
