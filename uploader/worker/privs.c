#include "uploader/worker/privs.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* System calls that a process which hashes descriptors and speaks HTTP never makes: who does has been taken over. Those
 * that a library may try out of curiosity are refused, the others are deadly. clone is not here: libcurl resolves names
 * in a thread. */
static const struct {
	const char *name;
	bool deadly;
} denied[] = {
	{"execve", true},
	{"execveat", true},
	{"ptrace", true},
	{"process_vm_readv", true},
	{"process_vm_writev", true},
	{"process_madvise", true},
	{"kcmp", true},
	{"pidfd_getfd", true},
	{"open_by_handle_at", true}, /* opens what no directory shows */
	{"name_to_handle_at", true},
	{"mount", true},
	{"umount2", true},
	{"move_mount", true},
	{"open_tree", true},
	{"fsopen", true},
	{"fsconfig", true},
	{"fsmount", true},
	{"fspick", true},
	{"mount_setattr", true},
	{"pivot_root", true},
	{"chroot", true},
	{"unshare", true},
	{"setns", true},
	{"kexec_load", true},
	{"kexec_file_load", true},
	{"reboot", true},
	{"swapon", true},
	{"swapoff", true},
	{"init_module", true},
	{"finit_module", true},
	{"delete_module", true},
	{"bpf", true},
	{"keyctl", true},
	{"add_key", true},
	{"request_key", true},
	{"userfaultfd", true},
	{"fanotify_init", true},
	{"quotactl", true},
	{"acct", true},
	{"iopl", true},
	{"ioperm", true},
	{"settimeofday", true},
	{"clock_settime", true},
	{"perf_event_open", false},
	{"io_uring_setup", false}, /* its requests pass by this filter */
	{"personality", false},
	{"syslog", false},
};

/* LeakSanitizer looks for leaks by ptrace, from a thread of the process itself. */
#if defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_SOUGHT true
#elif defined(__has_feature)
#define LEAKS_ARE_SOUGHT __has_feature(address_sanitizer)
#else
#define LEAKS_ARE_SOUGHT false
#endif

static int become_user(const struct config *config)
{
	capng_clear(CAPNG_SELECT_ALL);
	/* NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): an enumeration made to be or-ed. */
	const capng_flags_t flags = CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING | CAPNG_CLEAR_AMBIENT;

	if (capng_change_id((int)config->uploader_uid, (int)config->uploader_gid, flags) != 0)
		return -EPERM;
	return capng_have_capabilities(CAPNG_SELECT_ALL) == CAPNG_NONE ? 0 : -EPERM;
}

/* As somebody without CAP_SETPCAP the bounding set has to stay; no-new-privs makes it meaningless. */
static int drop_rest(void)
{
	capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS) == 0 ? 0 : -EPERM;
}

static int load_filter(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	for (size_t i = 0; i < ARRAY_SIZE(denied) && r == 0; i++) {
		int number = seccomp_syscall_resolve_name(denied[i].name);

		/* Unknown to this architecture. */
		if (number == __NR_SCMP_ERROR || (LEAKS_ARE_SOUGHT && !strcmp(denied[i].name, "ptrace")))
			continue;
		r = seccomp_rule_add(
			filter, denied[i].deadly ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM), number, 0);
	}
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

static int chdir_root(const struct config *config)
{
	(void)config;
	return chdir("/") < 0 ? -errno : 0;
}

static int change_user(const struct config *config)
{
	return geteuid() == 0 ? become_user(config) : drop_rest();
}

static int no_core(const struct config *config)
{
	static const struct rlimit none = {0, 0};

	(void)config;
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, LEAKS_ARE_SOUGHT, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int no_new_privs(const struct config *config)
{
	(void)config;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int filter_calls(const struct config *config)
{
	(void)config;
	return load_filter();
}

/* In this order: the change of user makes a process dumpable as /proc/sys/fs/suid_dumpable says, and the filter must
 * not stand in the way of the steps before it. */
static const struct {
	const char *what;
	int (*take)(const struct config *config);
} steps[] = {
	{"chdir", chdir_root},
	{"change of user and capabilities", change_user},
	{"core dumps", no_core},
	{"no_new_privs", no_new_privs},
	{"seccomp", filter_calls},
};

int privs_drop(const struct config *config, char error[static CONFIG_ERROR_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int r = steps[i].take(config);

		if (r < 0) {
			snprintf(error, CONFIG_ERROR_MAX, "cannot give up privileges (%s): %s", steps[i].what,
				strerror(-r));
			return r;
		}
	}
	return 0;
}
