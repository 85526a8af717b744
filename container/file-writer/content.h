/* What a file holds: bytes that follow from a number, so that a checker needs no copy of them.
 *
 * Block N (of CONTENT_BLOCK bytes) of a file with seed S is 512 little-endian 64-bit words of splitmix64 that starts
 * at S, the first of them XOR N. So no two blocks of a file are alike, nor any two files of 8 bytes or more whose
 * seeds differ. container/demolib/content.py says the same in Python. */
#ifndef EBBFS_FILE_WRITER_CONTENT_H
#define EBBFS_FILE_WRITER_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#define CONTENT_BLOCK 4096

struct content {
	uint64_t seed;
	uint8_t block[CONTENT_BLOCK]; /* block 0 */
};

void content_init(struct content *content, uint64_t seed);

/* The bytes at [offset, offset + length) of the endless file. */
void content_read(const struct content *content, uint64_t offset, uint8_t *out, size_t length);

#endif
