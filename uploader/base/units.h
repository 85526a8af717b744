/* Small pure conversions: durations, sizes, hexadecimal, base64, UTF-8, clocks. No locale, no allocation. */
#ifndef EBBFS_BASE_UNITS_H
#define EBBFS_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "uploader/base/cleanup.h"

#define NSEC_PER_SEC 1000000000LL
#define MSEC_PER_SEC 1000LL

/* `90`, `250ms`, `2s`, `5m`, `24h`, `7d` → milliseconds. A bare number is seconds. 0, -EINVAL or -ERANGE. */
int parse_duration_ms(const char *text, int64_t *ret_ms) _must_check_;

/* `4096`, `64k`, `10M`, `2G`, `1T` (powers of 1024, `iB` or `B` may follow) → bytes. 0, -EINVAL or -ERANGE. */
int parse_size_bytes(const char *text, uint64_t *ret_bytes) _must_check_;

/* A decimal number that ends the string, within [min, max]. 0, -EINVAL or -ERANGE. */
int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret) _must_check_;

/* `12 B`, `1.5 KiB`, `3.2 GiB` for people. Returns out. */
const char *format_bytes(uint64_t bytes, char out[static 24]);

/* `0.4s`, `12s`, `3m20s`, `2h05m`, `4d03h` for people. Returns out. */
const char *format_duration_ms(int64_t ms, char out[static 24]);

/* Lower-case hexadecimal with a closing NUL: out has 2 × length + 1 bytes. */
void hex_encode(const uint8_t *bytes, size_t length, char *out);

/* Exactly `length` bytes from 2 × length hexadecimal digits (either case) that end the string. 0 or -EINVAL. */
int hex_decode(const char *text, uint8_t *out, size_t length) _must_check_;

/* RFC 4648 §4 with padding and a closing NUL: out has 4 × ⌈length/3⌉ + 1 bytes. */
void base64_encode(const uint8_t *bytes, size_t length, char *out);

/* Decodes exactly `length` bytes, padding required. 0 or -EINVAL. */
int base64_decode(const char *text, uint8_t *out, size_t length) _must_check_;

/* Length of the well-formed UTF-8 sequence at `bytes` (Unicode 15, table 3-7), 0 if there is none. */
size_t utf8_sequence(const uint8_t *bytes, size_t available);

int64_t clock_ms(void); /* CLOCK_MONOTONIC */
int64_t clock_ns(void);
int64_t wall_ms(void); /* CLOCK_REALTIME */
int64_t wall_ns(void);

static inline int64_t timespec_ns(struct timespec ts)
{
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

#endif
