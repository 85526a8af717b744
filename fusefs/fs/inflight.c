#include "fusefs/fs/inflight.h"

#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fusefs/fs/internal.h"
#include "uploader/base/killpoint.h"
#include "uploader/base/log.h"

/* The request that this thread has in hand. */
static __thread struct {
	uint64_t unique;
	uint32_t opcode;
	struct inflight *inflight;
} current;

/* The place that this thread uses again and again. */
static __thread struct inflight *mine;

static size_t index_of(const struct fs *fs, const struct inflight *inflight)
{
	return (size_t)(inflight - fs->table.inflights);
}

/* Nodes whose attributes the kernel is to ask for again. */
struct touched {
	fuse_ino_t ids[3 * INFLIGHTS];
	size_t n;
};

static void touch(struct touched *touched, fuse_ino_t id)
{
	if (touched && id)
		touched->ids[touched->n++] = id;
}

static void forget_unclaimed_locked(struct fs *fs, struct touched *touched)
{
	for (size_t i = 0; i < INFLIGHTS; i++) {
		struct inflight *inflight = &fs->table.inflights[i];

		if (fs->inflight_used[i] || !inflight->unique)
			continue;
		touch(touched, inflight->node);
		touch(touched, inflight->parent);
		touch(touched, inflight->new_parent);
		inflight->unique = 0;
	}
	atomic_store(&fs->inflights_unclaimed, 0);
}

void inflight_drop_unclaimed(struct fs *fs)
{
	if (atomic_load_explicit(&fs->inflights_unclaimed, memory_order_relaxed) == 0)
		return;
	struct touched touched = {0};

	table_lock(&fs->table);
	forget_unclaimed_locked(fs, &touched);
	table_unlock(&fs->table);
	/* Answered, most likely. But if its program was killed meanwhile, the kernel does not know that it was done. No lock
	 * is taken for attributes alone (fuse_reverse_inval_inode() in fs/fuse/inode.c); one that a program held while it
	 * waits for us would also be waited for by our death. */
	for (size_t i = 0; i < touched.n; i++)
		(void)fuse_lowlevel_notify_inval_inode(fs->session, touched.ids[i], -1, 0);
}

static void claim(struct fs *fs, uint64_t unique)
{
	table_lock(&fs->table);
	for (size_t i = 0; i < INFLIGHTS; i++) {
		if (fs->inflight_used[i] || fs->table.inflights[i].unique != unique)
			continue;
		fs->inflight_used[i] = true;
		atomic_fetch_sub(&fs->inflights_unclaimed, 1);
		current.inflight = &fs->table.inflights[i];
		break;
	}
	table_unlock(&fs->table);
}

void inflight_begin(struct fs *fs, uint64_t unique, uint32_t opcode)
{
	current.unique = unique & ~FUSE_UNIQUE_RESEND;
	current.opcode = opcode;
	current.inflight = NULL;
	if ((unique & FUSE_UNIQUE_RESEND) && atomic_load(&fs->inflights_unclaimed) > 0)
		claim(fs, current.unique);
}

static void drop(struct inflight *inflight)
{
	atomic_signal_fence(memory_order_seq_cst);
	inflight->unique = 0;
	atomic_signal_fence(memory_order_seq_cst);
}

void inflight_end(struct fs *fs)
{
	struct inflight *inflight = current.inflight;

	current.unique = 0;
	current.inflight = NULL;
	if (!inflight)
		return;
	KILL_POINT("inflight: answered");
	drop(inflight);
	if (inflight == mine)
		return;
	table_lock(&fs->table);
	fs->inflight_used[index_of(fs, inflight)] = false;
	table_unlock(&fs->table);
}

struct inflight *inflight_current(void)
{
	return current.inflight;
}

struct inflight *inflight_in_state(enum inflight_state state)
{
	return current.inflight && current.inflight->state == state ? current.inflight : NULL;
}

static struct inflight *take_locked(struct fs *fs)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		for (size_t i = 0; i < INFLIGHTS; i++) {
			if (fs->inflight_used[i] || fs->table.inflights[i].unique)
				continue;
			fs->inflight_used[i] = true;
			return &fs->table.inflights[i];
		}
		/* Cannot be: see INFLIGHTS. */
		forget_unclaimed_locked(fs, NULL);
	}
	log_error("more requests in flight than threads");
	abort();
}

static struct inflight *take_mine_locked(struct fs *fs)
{
	if (!mine)
		mine = take_locked(fs);
	memset(mine, 0, INFLIGHT_HEAD_BYTES);
	return mine;
}

struct inflight *inflight_new(struct fs *fs)
{
	if (mine) {
		memset(mine, 0, INFLIGHT_HEAD_BYTES);
		return mine;
	}
	table_lock(&fs->table);
	struct inflight *inflight = take_mine_locked(fs);

	table_unlock(&fs->table);
	return inflight;
}

void inflight_intend(struct inflight *inflight)
{
	inflight->opcode = current.opcode;
	inflight->state = INFLIGHT_INTENT;
	atomic_signal_fence(memory_order_seq_cst);
	inflight->unique = current.unique;
	atomic_signal_fence(memory_order_seq_cst);
	current.inflight = inflight;
	KILL_POINT("inflight: intended");
}

void inflight_cancel(void)
{
	if (current.inflight)
		drop(current.inflight);
}

void inflight_reach_locked(struct fs *fs, enum inflight_state state, uint64_t node, uint64_t fh)
{
	if (!current.unique)
		return;
	if (!current.inflight)
		current.inflight = take_mine_locked(fs);
	struct inflight *inflight = current.inflight;

	table_save_locked(&fs->table, inflight, INFLIGHT_HEAD_BYTES);
	inflight->unique = current.unique;
	inflight->opcode = current.opcode;
	inflight->state = state;
	inflight->node = node;
	inflight->fh = fh;
}

bool inflight_list_locked(struct fs *fs, uint64_t node)
{
	struct inflight *inflight = current.inflight;
	uint64_t n = inflight && inflight->state == INFLIGHT_LISTED ? inflight->fh : 0;

	if (n == INFLIGHT_LISTED_MAX)
		return false;
	inflight_reach_locked(fs, INFLIGHT_LISTED, 0, n + 1);
	if (current.inflight)
		current.inflight->listed[n] = node;
	return true;
}

void inflight_unlist(struct fs *fs)
{
	struct inflight *inflight = inflight_in_state(INFLIGHT_LISTED);

	while (inflight && inflight->fh > 0) {
		table_lock(&fs->table);
		fuse_ino_t id = inflight->listed[inflight->fh - 1];
		struct node *node = table_node_locked(&fs->table, id);
		bool unpin = node && (node->flags & NODE_PINNED);

		table_save_locked(&fs->table, inflight, INFLIGHT_HEAD_BYTES);
		inflight->fh--;
		unpin = node && table_forget_locked(&fs->table, node, 1) && unpin;
		table_unlock(&fs->table);
		if (unpin)
			pins_drop(&fs->pins, id);
		KILL_POINT("unlist: one");
	}
}
