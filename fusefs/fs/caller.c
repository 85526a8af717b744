#include "fusefs/fs/caller.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdint.h>

#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Capability sets of a serving thread without and with CAP_FSETID; written once, before the threads. */
static struct __user_cap_data_struct without_fsetid[2], with_fsetid[2];
static bool can_fsetid;
static bool ids_keep_capabilities;
static __thread mode_t thread_mask;

static void set_capabilities(const struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	/* capset(2) wants a non-const pointer and only reads. */
	union {
		const struct __user_cap_data_struct *in;
		struct __user_cap_data_struct *out;
	} sets = {.in = data};
	(void)syscall(SYS_capset, &header, sets.out);
}

bool caller_prepare(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const uint32_t fsetid = 1U << CAP_FSETID;

	if (geteuid() != 0 || syscall(SYS_capget, &header, with_fsetid) < 0)
		return false;
	memcpy(without_fsetid, with_fsetid, sizeof(with_fsetid));
	can_fsetid = with_fsetid[0].effective & fsetid;
	without_fsetid[0].effective &= ~fsetid;
	/* Needs CAP_SETPCAP; without it the sets are put back by capset(2) after every change of ids. */
	ids_keep_capabilities = (prctl(PR_GET_SECUREBITS) & SECBIT_NO_SETUID_FIXUP) ||
				prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0;
	return true;
}

void caller_prepare_thread(void)
{
	if (unshare(CLONE_FS) == 0) {
		umask(0);
		thread_mask = 0;
	}
	if (can_fsetid)
		set_capabilities(without_fsetid);
}

static struct caller keep_if(bool wanted)
{
	struct caller caller = {.fsetid = can_fsetid && wanted};

	if (caller.fsetid)
		set_capabilities(with_fsetid);
	return caller;
}

struct caller caller_keep_mode(mode_t mode)
{
	return keep_if(mode & S_ISGID);
}

struct caller caller_keep_set_ids(bool privileged, uid_t uid)
{
	return keep_if(privileged && uid == 0);
}

struct caller caller_enter(bool privileged, uid_t uid, gid_t gid, mode_t mask, mode_t mode)
{
	struct caller caller = {.changed = privileged && (uid != 0 || gid != 0)};

	if (mask != thread_mask) {
		umask(mask);
		thread_mask = mask;
	}
	if (caller.changed) {
		setfsgid(gid);
		setfsuid(uid);
	}
	caller.fsetid = privileged && can_fsetid && (mode & S_ISGID);
	if (caller.fsetid)
		set_capabilities(with_fsetid);
	else if (caller.changed && !ids_keep_capabilities)
		set_capabilities(without_fsetid);
	return caller;
}

void caller_leave(const struct caller *caller)
{
	if (caller->changed) {
		setfsuid(0);
		setfsgid(0);
	}
	if (caller->fsetid || (caller->changed && !ids_keep_capabilities && can_fsetid))
		set_capabilities(without_fsetid);
}
