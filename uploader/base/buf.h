/* A byte buffer that grows up to a ceiling, and readers and writers of fixed binary forms on top of it.
 *
 * A writer remembers its first error (`error`, -errno), so that a run of puts is checked once at its end. Numbers are
 * big-endian, so that keys sort by value. One thread at a time. */
#ifndef EBBFS_BASE_BUF_H
#define EBBFS_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "uploader/base/cleanup.h"

struct buf {
	char *data;    /* always followed by a NUL once anything was put; NULL before */
	size_t length; /* without that NUL */
	size_t room;
	size_t max; /* ceiling in bytes; 0: 16 MiB */
	int error;  /* first failure: -ENOMEM, -E2BIG (over the ceiling) */
};

void buf_done(struct buf *buf);
void buf_reset(struct buf *buf); /* empties, keeps the memory and the ceiling, forgets the error */

/* Appending. After an error, does nothing; returns buf->error. */
int buf_put(struct buf *buf, const void *bytes, size_t length);
int buf_put_text(struct buf *buf, const char *text);
int buf_putf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_put_u8(struct buf *buf, uint8_t value);
int buf_put_u16(struct buf *buf, uint16_t value);
int buf_put_u32(struct buf *buf, uint32_t value);
int buf_put_u64(struct buf *buf, uint64_t value);
/* u16 length, then the bytes. -E2BIG above 65535. */
int buf_put_bytes16(struct buf *buf, const void *bytes, size_t length);

#define _cleanup_buf_ _cleanup_(buf_done)

/* Reads what the puts wrote. After an error (`error`, -EBADMSG), numbers read as 0 and pointers as NULL. Borrowed
 * pointers point into the bytes that the reader was given. */
struct buf_reader {
	const uint8_t *at, *end;
	int error;
};

void buf_reader_init(struct buf_reader *reader, const void *bytes, size_t length);
uint8_t buf_get_u8(struct buf_reader *reader);
uint16_t buf_get_u16(struct buf_reader *reader);
uint32_t buf_get_u32(struct buf_reader *reader);
uint64_t buf_get_u64(struct buf_reader *reader);
const void *buf_get(struct buf_reader *reader, size_t length);
const void *buf_get_bytes16(struct buf_reader *reader, size_t *ret_length);
/* bytes16 as a NUL-terminated string of at most size - 1 bytes without NUL inside; else -EBADMSG and "". */
void buf_get_text16(struct buf_reader *reader, char *out, size_t size);
/* 0 if everything was read without error and nothing is left, else -EBADMSG. */
int buf_reader_finish(const struct buf_reader *reader) _must_check_;

#endif
