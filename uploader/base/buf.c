#include "uploader/base/buf.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_BYTES (16U << 20)

void buf_done(struct buf *buf)
{
	int saved_errno = errno;

	free(buf->data);
	*buf = (struct buf){.max = buf->max};
	errno = saved_errno;
}

void buf_reset(struct buf *buf)
{
	buf->length = 0;
	buf->error = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

static int buf_reserve(struct buf *buf, size_t more)
{
	size_t max = buf->max ? buf->max : DEFAULT_MAX_BYTES;

	if (buf->error)
		return buf->error;
	if (more > max || buf->length > max - more)
		return buf->error = -E2BIG;
	if (buf->length + more < buf->room)
		return 0;

	size_t room = (buf->length + more + 1) * 3 / 2;
	char *data = realloc(buf->data, room < 64 ? 64 : room);

	if (!data)
		return buf->error = -ENOMEM;
	buf->data = data;
	buf->room = room < 64 ? 64 : room;
	return 0;
}

int buf_put(struct buf *buf, const void *bytes, size_t length)
{
	if (buf_reserve(buf, length) < 0)
		return buf->error;
	if (length)
		memcpy(buf->data + buf->length, bytes, length);
	buf->length += length;
	buf->data[buf->length] = '\0';
	return 0;
}

int buf_put_text(struct buf *buf, const char *text)
{
	return buf_put(buf, text, strlen(text));
}

int buf_putf(struct buf *buf, const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, args);

	va_end(args);
	if (length < 0)
		buf->error = -EINVAL;
	else if (buf_reserve(buf, (size_t)length) == 0) {
		vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
		buf->length += (size_t)length;
	}
	va_end(again);
	return buf->error;
}

int buf_put_u8(struct buf *buf, uint8_t value)
{
	return buf_put(buf, &value, sizeof(value));
}

int buf_put_u16(struct buf *buf, uint16_t value)
{
	value = htobe16(value);
	return buf_put(buf, &value, sizeof(value));
}

int buf_put_u32(struct buf *buf, uint32_t value)
{
	value = htobe32(value);
	return buf_put(buf, &value, sizeof(value));
}

int buf_put_u64(struct buf *buf, uint64_t value)
{
	value = htobe64(value);
	return buf_put(buf, &value, sizeof(value));
}

int buf_put_bytes16(struct buf *buf, const void *bytes, size_t length)
{
	if (length > UINT16_MAX)
		return buf->error ? buf->error : (buf->error = -E2BIG);
	buf_put_u16(buf, (uint16_t)length);
	return buf_put(buf, bytes, length);
}

void buf_reader_init(struct buf_reader *reader, const void *bytes, size_t length)
{
	*reader = (struct buf_reader){.at = bytes, .end = (const uint8_t *)bytes + length};
}

const void *buf_get(struct buf_reader *reader, size_t length)
{
	if (reader->error || (size_t)(reader->end - reader->at) < length) {
		reader->error = -EBADMSG;
		return NULL;
	}
	const void *bytes = reader->at;

	reader->at += length;
	return bytes;
}

#define DEFINE_GET(name, type, convert)                                                                              \
	type name(struct buf_reader *reader)                                                                         \
	{                                                                                                            \
		type value = 0;                                                                                      \
		const void *bytes = buf_get(reader, sizeof(value));                                                  \
		if (bytes)                                                                                           \
			memcpy(&value, bytes, sizeof(value));                                                        \
		return convert(value);                                                                               \
	}

DEFINE_GET(buf_get_u8, uint8_t, )
DEFINE_GET(buf_get_u16, uint16_t, be16toh)
DEFINE_GET(buf_get_u32, uint32_t, be32toh)
DEFINE_GET(buf_get_u64, uint64_t, be64toh)

const void *buf_get_bytes16(struct buf_reader *reader, size_t *ret_length)
{
	size_t length = buf_get_u16(reader);
	const void *bytes = buf_get(reader, length);

	*ret_length = bytes ? length : 0;
	return bytes;
}

void buf_get_text16(struct buf_reader *reader, char *out, size_t size)
{
	size_t length;
	const void *bytes = buf_get_bytes16(reader, &length);

	out[0] = '\0';
	if (!bytes)
		return;
	if (length >= size || memchr(bytes, '\0', length)) {
		reader->error = -EBADMSG;
		return;
	}
	memcpy(out, bytes, length);
	out[length] = '\0';
}

int buf_reader_finish(const struct buf_reader *reader)
{
	return reader->error || reader->at != reader->end ? -EBADMSG : 0;
}
