#include "uploader/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads digits, returns where they end; NULL when there are none or they exceed 64 bits (errno says which). */
static const char *read_number(const char *text, uint64_t *ret)
{
	uint64_t value = 0;
	const char *c = text;

	for (; is_digit(*c); c++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*c - '0'), &value)) {
			errno = ERANGE;
			return NULL;
		}
	}
	if (c == text) {
		errno = EINVAL;
		return NULL;
	}
	*ret = value;
	return c;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value;
	const char *end = read_number(text, &value);

	if (!end)
		return -errno;
	if (*end)
		return -EINVAL;
	if (value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_duration_ms(const char *text, int64_t *ret_ms)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
	uint64_t value;
	const char *unit = read_number(text, &value);

	if (!unit)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		int64_t ms;

		if (strcmp(unit, units[i].name) != 0)
			continue;
		if (value > INT64_MAX || __builtin_mul_overflow((int64_t)value, units[i].ms, &ms))
			return -ERANGE;
		*ret_ms = ms;
		return 0;
	}
	return -EINVAL;
}

int parse_size_bytes(const char *text, uint64_t *ret_bytes)
{
	static const char prefixes[] = "kmgtp";
	uint64_t value;
	const char *unit = read_number(text, &value);
	unsigned int shift = 0;

	if (!unit)
		return -errno;
	if (*unit && *unit != 'B') {
		const char *prefix = strchr(prefixes, *unit | 0x20);

		if (!prefix)
			return -EINVAL;
		shift = 10 * (unsigned int)(prefix - prefixes + 1);
		unit++;
		if (*unit == 'i')
			unit++;
	}
	if (*unit == 'B')
		unit++;
	if (*unit)
		return -EINVAL;
	if (value > (UINT64_MAX >> shift))
		return -ERANGE;
	*ret_bytes = value << shift;
	return 0;
}

const char *format_bytes(uint64_t bytes, char out[static 24])
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(names)) {
		value /= 1024;
		unit++;
	}
	snprintf(out, 24, unit ? "%.1f %s" : "%.0f %s", value, names[unit]);
	return out;
}

const char *format_duration_ms(int64_t ms, char out[static 24])
{
	long long s = ms / 1000;

	if (s < 10)
		snprintf(out, 24, "%lld.%llds", s, (long long)(ms % 1000 / 100));
	else if (s < 60)
		snprintf(out, 24, "%llds", s);
	else if (s < 3600)
		snprintf(out, 24, "%lldm%02llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, 24, "%lldh%02lldm", s / 3600, s % 3600 / 60);
	else
		snprintf(out, 24, "%lldd%02lldh", s / 86400, s % 86400 / 3600);
	return out;
}

void hex_encode(const uint8_t *bytes, size_t length, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = '\0';
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(const char *text, uint8_t *out, size_t length)
{
	if (strlen(text) != 2 * length)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const uint8_t *bytes, size_t length, char *out)
{
	for (size_t i = 0; i < length; i += 3) {
		uint32_t group = (uint32_t)bytes[i] << 16;

		if (i + 1 < length)
			group |= (uint32_t)bytes[i + 1] << 8;
		if (i + 2 < length)
			group |= bytes[i + 2];
		*out++ = base64_alphabet[group >> 18];
		*out++ = base64_alphabet[group >> 12 & 63];
		*out++ = i + 1 < length ? base64_alphabet[group >> 6 & 63] : '=';
		*out++ = i + 2 < length ? base64_alphabet[group & 63] : '=';
	}
	*out = '\0';
}

int base64_decode(const char *text, uint8_t *out, size_t length)
{
	size_t at = 0, chars = strlen(text);

	if (chars != (length + 2) / 3 * 4)
		return -EINVAL;
	for (size_t i = 0; i < chars; i += 4) {
		uint32_t group = 0;
		size_t padding = 0;

		for (size_t j = 0; j < 4; j++) {
			const char *found = text[i + j] ? strchr(base64_alphabet, text[i + j]) : NULL;

			if (found && !padding)
				group = group << 6 | (uint32_t)(found - base64_alphabet);
			else if (text[i + j] == '=' && i + 4 == chars && j >= 2)
				group <<= 6, padding++;
			else
				return -EINVAL;
		}
		for (size_t j = 0; j < 3 - padding; j++) {
			if (at == length)
				return -EINVAL;
			out[at++] = (uint8_t)(group >> (16 - 8 * j));
		}
	}
	return at == length ? 0 : -EINVAL;
}

size_t utf8_sequence(const uint8_t *bytes, size_t available)
{
	static const struct {
		uint8_t first_low, first_high, second_low, second_high, length;
	} forms[] = {
		{0x00, 0x7f, 0, 0, 1},
		{0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; available && i < ARRAY_SIZE(forms); i++) {
		if (bytes[0] < forms[i].first_low || bytes[0] > forms[i].first_high)
			continue;
		if (forms[i].length > available)
			return 0;
		if (forms[i].length > 1 && (bytes[1] < forms[i].second_low || bytes[1] > forms[i].second_high))
			return 0;
		for (size_t j = 2; j < forms[i].length; j++) {
			if (bytes[j] < 0x80 || bytes[j] > 0xbf)
				return 0;
		}
		return forms[i].length;
	}
	return 0;
}

static struct timespec clock_now(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now;
}

int64_t clock_ns(void)
{
	return timespec_ns(clock_now(CLOCK_MONOTONIC));
}

int64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}

int64_t wall_ns(void)
{
	return timespec_ns(clock_now(CLOCK_REALTIME));
}

int64_t wall_ms(void)
{
	return wall_ns() / 1000000;
}
