/* ebbfs run: all parts of ebbfs, or one of them, kept running in the foreground. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusefs/anchor/mount.h"
#include "fusefs/cli/child.h"
#include "fusefs/cli/cli.h"
#include "fusefs/cli/program.h"
#include "fusefs/cli/supervise.h"
#include "fusefs/policy/keys.h"
#include "uploader/base/log.h"

#define STACK_MAX 16

static void warn_unknown(const char *name, void *arg)
{
	(void)arg;
	/* Where the programs are is the command line's own affair (program.h). */
	if (strcmp(name, "EBBFS_BIN") != 0)
		log_warning("%s means nothing to ebbfs: a typing error?", name);
}

static bool is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	while (length > 1 && directory[length - 1] == '/')
		length--;
	return !strncmp(path, directory, length) && (path[length] == '\0' || path[length] == '/');
}

/* A dead mount of an earlier run passes: the anchor clears it away. */
static int check_directory(const char *name, const char *path)
{
	struct statx stx;
	int r = statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0 ? -errno : 0;

	if (r == 0 && !S_ISDIR(stx.stx_mode))
		r = -ENOTDIR;
	if (r == 0 || r == -ENOTCONN || r == -ECONNABORTED)
		return 0;
	return cli_fail(EXIT_USAGE, "%s=%s: %s: must be a directory that exists", name, path, strerror(-r));
}

/* 0, or EXIT_USAGE after it said why. */
static int check(const struct config *config, bool needs_target, bool needs_data)
{
	char error[CONFIG_ERROR_MAX];

	if (needs_target && config_require_target(config, error) < 0)
		return cli_fail(EXIT_USAGE, "%s", error);
	struct keys keys;

	if (needs_target && keys_init(&keys, config->prefix, config->exclude, error, sizeof(error)) < 0)
		return cli_fail(EXIT_USAGE, "%s", error);
	if (needs_data && check_directory("EBBFS_DATA", config->data) != 0)
		return EXIT_USAGE;
	if (needs_data && config->backing != config->data && check_directory("EBBFS_BACKING", config->backing) != 0)
		return EXIT_USAGE;
	if (is_below(config->state, config->data) || is_below(config->state, config->backing))
		return cli_fail(EXIT_USAGE, "EBBFS_STATE=%s: must not lie in the data directory", config->state);
	if (is_below(config->run, config->data) || is_below(config->run, config->backing))
		return cli_fail(EXIT_USAGE, "EBBFS_RUN=%s: must not lie in the data directory", config->run);
	config_unknown(warn_unknown, NULL);
	return 0;
}

/* With its parents, which become 0755. 0, or EXIT_FAILED after it said why. */
static int make_directory(const char *name, const char *path, mode_t mode)
{
	char part[PATH_MAX];
	struct stat st;

	int n = snprintf(part, sizeof(part), "%s", path);

	if (n < 0 || (size_t)n >= sizeof(part))
		return cli_fail(EXIT_FAILED, "%s=%s: %s", name, path, strerror(ENAMETOOLONG));
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)!mkdir(part, 0755);
		*slash = '/';
	}
	if (mkdir(part, mode) == 0) {
		(void)!chmod(part, mode); /* whatever the umask */
		return 0;
	}
	if (stat(part, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return cli_fail(
		EXIT_FAILED, "%s=%s: %s; create the directory or choose another", name, path, strerror(errno));
}

/* One `ebbfs run` of a kind per EBBFS_RUN. Returns the descriptor that holds the lock, or -errno after it said why. */
static int take_lock(const struct config *config, const char *kind)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s.lock", config->run, kind);
	_cleanup_close_ int fd =
		n < (int)sizeof(path) ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return TAKE_FD(fd);
	int r = -errno;

	if (r == -EWOULDBLOCK)
		cli_fail(0, "another `ebbfs run` is at work in %s; end it, or set another EBBFS_RUN", config->run);
	else
		cli_fail(0, "%s: %s", path, strerror(-r));
	return r;
}

/* Nothing of ours may stay mounted. Returns whether something had to be done. */
static bool clear_mount(const struct config *config)
{
	struct mount_top top;
	bool found = false;

	for (int i = 0; i < STACK_MAX && mount_look(config->data, &top) == 0 && mount_is_ours(&top); i++) {
		log_warning("%s is still mounted: unmounting it", config->data);
		found = true;
		if (umount2(config->data, MNT_DETACH) < 0) {
			log_error("cannot unmount %s: %s", config->data, strerror(errno));
			break;
		}
	}
	return found;
}

/* The uploader's own settings (endpoint, region, CA bundle) are wrong before anything is mounted, not after. 0, or
 * EXIT_USAGE after it said why. */
static int check_uploader(const char *path)
{
	union {
		const char *in[3];
		char *out[3];
	} argv = {.in = {path, "--check-settings"}};
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execv(path, argv.out);
		_exit(EXIT_FAILED);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE ? EXIT_USAGE : 0;
}

static int run_children(const struct config *config, struct child *children, size_t n, const char *kind)
{
	char record[64];

	for (size_t i = 0; i < n; i++) {
		if (program_find(part_program(children[i].part), children[i].images.path) < 0)
			return cli_fail(EXIT_FAILED, "cannot find %s; set EBBFS_BIN to its directory",
				part_program(children[i].part));
	}
	int r = n == PARTS ? check_uploader(children[PART_UPLOADER].images.path) : 0;

	if (r == 0)
		r = make_directory("EBBFS_RUN", config->run, 0755);

	if (r == 0)
		r = make_directory("EBBFS_STATE", config->state, 0700);
	if (r != 0)
		return r;
	_cleanup_close_ int lock = take_lock(config, kind);

	if (lock < 0)
		return EXIT_FAILED;
	snprintf(record, sizeof(record), "%s.children", kind);
	int code = supervise(config, children, n, record);

	/* An anchor alone that ends may leave its mount to the fusefs that serves it. */
	if (n == PARTS && clear_mount(config) && code == EXIT_DONE)
		code = EXIT_FAILED;
	log_info("ended exit=%d", code);
	return code;
}

static int run_parts(const struct config *config, const enum part *parts, size_t n, const char *kind)
{
	struct child children[PARTS];

	for (size_t i = 0; i < n; i++)
		child_init(&children[i], parts[i]);
	int code = run_children(config, children, n, kind);

	for (size_t i = 0; i < n; i++)
		child_done(&children[i]);
	return code;
}

static int run(const struct config *config, int argc, char **argv)
{
	static const enum part all[PARTS] = {PART_ANCHOR, PART_FUSEFS, PART_UPLOADER};
	char kind[32] = "run";
	size_t first = 0, n = PARTS;

	if (argc > 2)
		return cli_usage(&command_run, "unexpected argument %s", argv[2]);
	if (argc == 2) {
		while (first < PARTS && strcmp(part_name(all[first]), argv[1]) != 0)
			first++;
		if (first == PARTS)
			return cli_usage(&command_run, "%s is no part of ebbfs", argv[1]);
		n = 1;
		snprintf(kind, sizeof(kind), "run-%s", part_name(all[first]));
	}
	int r = check(config, n > 1 || all[first] != PART_ANCHOR, all[first] == PART_ANCHOR);

	return r != 0 ? r : run_parts(config, all + first, n, kind);
}

const struct command command_run = {
	.name = "run",
	.arguments = "[anchor|fusefs|uploader]",
	.summary = "mount, serve and upload, in the foreground",
	.help = "Starts ebbfs-anchor, ebbfs-fusefs and ebbfs-uploader, or the one that is named,\n"
		"and starts again at once whatever dies, or is silent for 3 s (the uploader: 10 s)\n"
		"although it has said that it is alive. The vendor program notices neither. The\n"
		"AWS_* variables reach the uploader only.\n\n"
		"SIGTERM or SIGINT ends it in order: it waits up to EBBFS_DRAIN until every\n"
		"closed file is in S3, then ends uploader, fusefs and anchor and leaves the plain\n"
		"directory. A second signal skips the waiting.\n\n"
		"Killed by SIGKILL, its children go on serving; the next `ebbfs run` with the\n"
		"same EBBFS_RUN replaces them one by one, without a break. A new version on disk\n"
		"is taken at the next start of each part. If a new ebbfs-fusefs cannot go on with\n"
		"the state of the mount, the version that ran before serves again.\n\n"
		"Under a supervisor of its own it says READY=1 and WATCHDOG=1 (sd_notify(3)).\n\n"
		"Exit codes: 0 ended in order, 1 could not start or something had to be forced,\n"
		"2 the configuration is wrong: nothing was mounted.",
	.run = run,
};
