#include "tests/unit/unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "uploader/base/cleanup.h"
#include "uploader/base/notify.h"

/* Longer than sun_path. */
#define LONG_NAME                                                                                                    \
	"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"

/* A listener at an abstract name of this process; its $NOTIFY_SOCKET form in name. */
static int listen_abstract(char name[static 64])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(name, 64, "@ebbfs-test-notify-%d", (int)getpid());

	memcpy(address.sun_path + 1, name + 1, (size_t)n - 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
		0);
	return fd;
}

static void expect(int fd, const char *text)
{
	char got[64] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	assert_int_equal(n, strlen(text));
	assert_string_equal(got, text);
}

static void expect_nothing(int fd)
{
	char got[64];

	assert_int_equal(recv(fd, got, sizeof(got), 0), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Without variables: nobody is told, nothing fails. */
static int forget(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	notify_init();
	return 0;
}

static void test_nobody_there(void **state)
{
	static const char *const names[] = {"", "@", "relative", "/", "/nonexistent/notify", "vsock:2:1234"};

	(void)state;
	assert_int_equal(notify_interval_ms(), 0);
	notify_ready();
	notify_alive();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		setenv("NOTIFY_SOCKET", names[i], 1);
		setenv("WATCHDOG_USEC", "3000000", 1);
		notify_init();
		assert_int_equal(notify_interval_ms(), 0);
		notify_ready();
		notify_alive();
		assert_null(getenv("NOTIFY_SOCKET"));
		assert_null(getenv("WATCHDOG_USEC"));
	}
}

static void test_says_what_is_waited_for(void **state)
{
	char name[64];
	_cleanup_close_ int fd = listen_abstract(name);

	(void)state;
	setenv("NOTIFY_SOCKET", name, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_init();
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_int_equal(notify_interval_ms(), 1500);
	expect_nothing(fd);
	notify_ready();
	expect(fd, "READY=1");
	notify_alive();
	expect(fd, "WATCHDOG=1");
}

static void test_intervals(void **state)
{
	char name[64], self[16], other[16];
	_cleanup_close_ int fd = listen_abstract(name);

	snprintf(self, sizeof(self), "%d", (int)getpid());
	snprintf(other, sizeof(other), "%d", (int)getpid() + 1);
	const struct {
		const char *limit, *pid;
		int64_t interval_ms;
	} cases[] = {
		{NULL, NULL, 0},
		{"", NULL, 0},
		{"0", NULL, 0},
		{"1", NULL, 1},
		{"3s", NULL, 0},
		{"-3000000", NULL, 0},
		{"3000000", NULL, 1500},
		{"3000000", self, 1500},
		{"3000000", other, 0},
		{"3000000", "x", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		setenv("NOTIFY_SOCKET", name, 1);
		if (cases[i].limit)
			setenv("WATCHDOG_USEC", cases[i].limit, 1);
		if (cases[i].pid)
			setenv("WATCHDOG_PID", cases[i].pid, 1);
		notify_init();
		assert_int_equal(notify_interval_ms(), cases[i].interval_ms);
		assert_null(getenv("WATCHDOG_PID"));
		notify_ready(); /* is wanted even where no sign of life is */
		expect(fd, "READY=1");
	}
}

static void test_a_full_socket_is_not_waited_for(void **state)
{
	char name[64], got[64];
	_cleanup_close_ int fd = listen_abstract(name);

	(void)state;
	setenv("NOTIFY_SOCKET", name, 1);
	notify_init();
	for (int i = 0; i < 5000; i++)
		notify_alive();
	notify_ready(); /* lost, but not for ever */
	while (recv(fd, got, sizeof(got), 0) > 0)
		assert_memory_equal(got, "WATCHDOG=1", 10);
	notify_alive();
	expect(fd, "READY=1\nWATCHDOG=1");
	notify_alive();
	expect(fd, "WATCHDOG=1");
}

static void test_a_listener_that_went_away(void **state)
{
	char name[64];
	int fd = listen_abstract(name);

	(void)state;
	setenv("NOTIFY_SOCKET", name, 1);
	notify_init();
	close(fd);
	notify_ready();
	notify_alive();
}

static void test_long_path(void **state)
{
	char base[] = "/tmp/ebbfs-notify-XXXXXX", path[256];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)state;
	assert_non_null(mkdtemp(base));
	snprintf(path, sizeof(path), "%s/" LONG_NAME, base);
	assert_int_equal(mkdir(path, 0700), 0);
	_cleanup_close_ int dirfd = open(path, O_PATH | O_CLOEXEC);

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/notify", dirfd);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	snprintf(path, sizeof(path), "%s/" LONG_NAME "/notify", base);
	setenv("NOTIFY_SOCKET", path, 1);
	notify_init();
	notify_ready();
	expect(fd, "READY=1");
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_nobody_there, forget),
		cmocka_unit_test_setup(test_says_what_is_waited_for, forget),
		cmocka_unit_test_setup(test_intervals, forget),
		cmocka_unit_test_setup(test_a_full_socket_is_not_waited_for, forget),
		cmocka_unit_test_setup(test_a_listener_that_went_away, forget),
		cmocka_unit_test_setup(test_long_path, forget)};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	forget(NULL);
	return r;
}
