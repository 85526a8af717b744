#include "tests/crash/writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL

struct writer self;

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

/* splitmix64: any seed is as good as any other. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

uint32_t below(uint32_t n)
{
	self.random += 0x9e3779b97f4a7c15ULL;
	return (uint32_t)((mix(self.random) >> 32) % n);
}

bool once_in(uint32_t n)
{
	return below(n) == 0;
}

uint32_t between(uint32_t low, uint32_t high)
{
	return low + below(high - low + 1);
}

static uint8_t pattern_byte(uint64_t seed, uint64_t at)
{
	return (uint8_t)(mix(seed + at / 8) >> (at % 8 * 8));
}

void pattern(void *out, uint64_t seed, uint64_t offset, size_t length)
{
	uint8_t *bytes = out;

	for (size_t i = 0; i < length; i++)
		bytes[i] = pattern_byte(seed, offset + i);
}

void pattern_check(const void *data, uint64_t seed, uint64_t offset, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++) {
		uint8_t expected = pattern_byte(seed, offset + i);

		CHECK(bytes[i] == expected, "byte %llu is %02x, must be %02x", (unsigned long long)(offset + i),
			bytes[i], expected);
	}
}

void note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(self.note, sizeof(self.note), format, arguments);
	va_end(arguments);
}

/* One write(2), so that the reports of several writers do not mix. */
void wrong(const char *format, ...)
{
	char what[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	__atomic_store_n(&self.board->failed, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&self.board->stop, 1, __ATOMIC_SEQ_CST);
	dprintf(2, "WRONG writer=%s seed=%llu step=%llu doing=\"%s\": %s\n", self.slot->name,
		(unsigned long long)self.slot->seed, (unsigned long long)self.slot->steps, self.note, what);
	_exit(1);
}

void call_begin(void)
{
	__atomic_store_n(&self.slot->since_ns, now_ns(), __ATOMIC_RELEASE);
}

void call_end(const char *text)
{
	int saved_errno = errno;
	uint64_t took_ns = now_ns() - self.slot->since_ns;

	if (took_ns > self.slot->longest_ns) {
		self.slot->longest_ns = took_ns;
		snprintf(self.slot->longest, sizeof(self.slot->longest), "%s", text);
	}
	self.slot->calls++;
	__atomic_store_n(&self.slot->since_ns, 0, __ATOMIC_RELEASE);
	errno = saved_errno;
}

static const char *result_text(long result, char out[static 48])
{
	if (result < 0)
		snprintf(out, 48, "-%s", strerrorname_np((int)-result) ? strerrorname_np((int)-result) : "?");
	else
		snprintf(out, 48, "%ld", result);
	return out;
}

long call_must(long expected, long got, const char *text)
{
	long result = got == -1 ? -errno : got;
	char one[48], other[48];

	CHECK(result == expected, "%s: expected %s, got %s", text, result_text(expected, one),
		result_text(result, other));
	return result;
}

long call_done(long got, const char *text)
{
	CHECK(got != -1, "%s: expected success, got -%s", text, strerrorname_np(errno));
	return got;
}
