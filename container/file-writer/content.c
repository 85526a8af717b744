#include "container/file-writer/content.h"

#include <endian.h>
#include <string.h>

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void content_init(struct content *content, uint64_t seed)
{
	uint64_t state = seed;

	content->seed = seed;
	for (size_t at = 0; at < CONTENT_BLOCK; at += sizeof(uint64_t)) {
		uint64_t word = htole64(splitmix64(&state));

		memcpy(content->block + at, &word, sizeof(word));
	}
}

void content_read(const struct content *content, uint64_t offset, uint8_t *out, size_t length)
{
	while (length > 0) {
		size_t at = offset % CONTENT_BLOCK;
		size_t take = CONTENT_BLOCK - at < length ? CONTENT_BLOCK - at : length;
		uint64_t number = htole64(offset / CONTENT_BLOCK);
		uint8_t number_bytes[sizeof(number)];

		memcpy(number_bytes, &number, sizeof(number));
		memcpy(out, content->block + at, take);
		for (size_t i = at; i < sizeof(number) && i < at + take; i++)
			out[i - at] ^= number_bytes[i];
		out += take;
		offset += take;
		length -= take;
	}
}
