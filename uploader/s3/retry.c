#include "uploader/s3/retry.h"

#define BASE_TRANSIENT_MS 50
#define BASE_THROTTLED_MS 1000
#define ASKED_EXTRA_MS 5000

int retry_take(struct retry_bucket *bucket, enum s3_class class, int attempt)
{
	int cost = class == S3_THROTTLED ? RETRY_COST_THROTTLED : RETRY_COST_TRANSIENT;

	if ((class != S3_TRANSIENT && class != S3_THROTTLED) || attempt >= RETRY_ATTEMPTS || bucket->tokens < cost)
		return 0;
	bucket->tokens -= cost;
	return cost;
}

void retry_give_back(struct retry_bucket *bucket, int taken)
{
	bucket->tokens += taken ? taken : 1;
	if (bucket->tokens > RETRY_TOKENS)
		bucket->tokens = RETRY_TOKENS;
}

int64_t retry_delay_ms(enum s3_class class, int attempt, double unit, int64_t asked_ms)
{
	int64_t base = class == S3_THROTTLED ? BASE_THROTTLED_MS : BASE_TRANSIENT_MS;
	int shift = attempt < 1 ? 0 : attempt > 16 ? 15 : attempt - 1;
	int64_t ceiling = base << shift;
	int64_t delay = (int64_t)(unit * (double)(ceiling < RETRY_DELAY_MAX_MS ? ceiling : RETRY_DELAY_MAX_MS));

	if (asked_ms > delay)
		return asked_ms < delay + ASKED_EXTRA_MS ? asked_ms : delay + ASKED_EXTRA_MS;
	return delay;
}
