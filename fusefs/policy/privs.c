#include "fusefs/policy/privs.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static const struct {
	unsigned int capability;
	const char *reason;
} kept[] = {
	{CAP_SYS_ADMIN, "backing ids of passthrough (fs/fuse/backing.c); trusted.* attributes for root"},
	{CAP_DAC_READ_SEARCH, "open_by_handle_at(2)"},
	{CAP_DAC_OVERRIDE, "the kernel has checked the caller's rights already"},
	{CAP_CHOWN, "chown(2) for callers who may"},
	{CAP_FOWNER, "chmod(2), utimensat(2), O_NOATIME on others' files"},
	{CAP_FSETID, "to keep set-group-ID bits that a caller sets"},
	{CAP_MKNOD, "mknod(2) for callers who may"},
	{CAP_LEASE, "to ask whether a file is being written"},
	{CAP_SETUID, "what is created is the caller's"},
	{CAP_SETGID, "and the caller's group's"},
	{CAP_SETFCAP, "security.capability, set by callers who may"},
};

static int keep_listed_capabilities(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		/* What the container did not give in the first place cannot be kept. */
		if (prctl(PR_CAPBSET_READ, kept[i].capability) == 1 &&
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
				kept[i].capability) < 0)
			return -EPERM;
	}
	/* Changing file-system ids is to leave the capabilities alone (fusefs/fs/caller.h); needs CAP_SETPCAP, which goes
	 * with the next step. Where it is not there, the ids are changed the slower way. */
	(void)prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	return capng_apply(CAPNG_SELECT_BOTH) < 0 ? -EPERM : 0;
}

static int allow_unix_sockets_only(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (!filter)
		return -ENOMEM;
	const struct scmp_arg_cmp not_unix = {.arg = 0, .op = SCMP_CMP_NE, .datum_a = AF_UNIX};
	int r = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, &not_unix);

	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

int policy_privs_drop(void)
{
	int r = geteuid() == 0 ? keep_listed_capabilities() : 0;

	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r < 0 ? r : allow_unix_sockets_only();
}
