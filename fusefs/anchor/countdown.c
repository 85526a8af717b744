#include "fusefs/anchor/countdown.h"

#include "fusefs/anchor/handover.h"

#define SILENT_MS 1500
/* Of a short EBBFS_FAIL_OPEN_AFTER, both are a part: a restart must have the time to prove itself. */
#define STABLE_SHARE 4
#define SILENT_SHARE 2

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void countdown_start(struct countdown *countdown, int64_t limit_ms, int64_t now_ms)
{
	*countdown = (struct countdown){
		.limit_ms = limit_ms,
		.stable_ms = least(COUNTDOWN_STABLE_MS, limit_ms / STABLE_SHARE),
		.silent_ms = least(SILENT_MS, limit_ms / SILENT_SHARE),
		.served_ms = now_ms,
	};
}

void countdown_heard(struct countdown *countdown, int64_t now_ms)
{
	if (!countdown_is_served(countdown, now_ms)) {
		countdown->serving = true;
		countdown->since_ms = now_ms;
	}
	countdown->alive_ms = now_ms;
	if (now_ms - countdown->since_ms >= countdown->stable_ms)
		countdown->served_ms = now_ms;
}

void countdown_gone(struct countdown *countdown, int64_t now_ms)
{
	if (countdown->serving && now_ms - countdown->alive_ms < 2LL * HANDOVER_ALIVE_MS &&
		now_ms - countdown->since_ms >= countdown->stable_ms)
		countdown->served_ms = now_ms;
	countdown->serving = false;
}

void countdown_skip(struct countdown *countdown, int64_t ms)
{
	countdown->served_ms += ms;
	countdown->since_ms += ms;
	countdown->alive_ms += ms;
}

bool countdown_is_served(const struct countdown *countdown, int64_t now_ms)
{
	return countdown->serving && now_ms - countdown->alive_ms < countdown->silent_ms + HANDOVER_ALIVE_MS;
}

int64_t countdown_end_ms(const struct countdown *countdown)
{
	int64_t end_ms = countdown->served_ms + countdown->limit_ms;
	/* Its next word is due by then, and counts. */
	int64_t proof_ms = countdown->alive_ms + countdown->stable_ms + 2LL * HANDOVER_ALIVE_MS;

	return countdown->serving && proof_ms > end_ms ? proof_ms : end_ms;
}
