/* Records and keys of the journal as bytes. Pure: no store, no clock, no memory kept. Any thread.
 *
 * Every value begins with a version byte. Numbers that are mostly small are LEB128 ("varint"), strings stand with their
 * length before them, and what is absent takes a bit, so that a proven file costs a few hundred bytes over all
 * sub-databases. No encoded value is a prefix of another one's encoding: cut short, it does not decode.
 *
 * Decoding returns 0; -EIO for bytes that no version ever wrote; -EPROTO for a record of a newer version; outputs stay
 * untouched then. Keys are big-endian, times with their sign bit flipped, so that bytewise order is the order of the
 * values. Encoding replaces the buffer's content and returns 0, -EINVAL (no such value can be stored) or -ENOMEM. */
#ifndef EBBFS_JOURNAL_RECORD_H
#define EBBFS_JOURNAL_RECORD_H

#include "fusefs/journal/journal.h"
#include "uploader/base/buf.h"

#define RECORD_VERSION 1
#define RECORD_KEY_MAX 511 /* LMDB's limit, as Debian builds it */
/* An S3 key up to here stands whole in the object index; of a longer one, so much and a 64-bit hash of all. */
#define RECORD_OBJECT_HEAD_MAX 480
#define RECORD_SLOT_BYTES 2
#define RECORD_BLOCKS_BYTES_MAX (5 + JOB_BLOCKS_MAX * JOB_SHA256_BYTES)

struct record_key {
	size_t length;
	uint8_t bytes[RECORD_KEY_MAX];
};

void record_key_ino(struct record_key *ret, uint64_t ino);                     /* file, parked, blocks */
void record_key_time(struct record_key *ret, int64_t ms, uint64_t ino);        /* due, since */
void record_key_text(struct record_key *ret, const char *text);                /* meta */
void record_key_dir(struct record_key *ret, uint64_t dir);                     /* what its entries begin with */
void record_key_entry(struct record_key *ret, uint64_t dir, const char *name); /* name: ≤ JOURNAL_NAME_MAX */
void record_key_name(struct record_key *ret, uint64_t ino, uint64_t dir, const char *name); /* inode index */
void record_key_object(struct record_key *ret, const char *key);              /* what its slots begin with */
void record_key_slot(struct record_key *ret, const char *key, uint16_t slot); /* object */

/* 1 to JOURNAL_NAME_MAX bytes, none of them NUL or a slash. */
bool record_is_name(const void *name, size_t length);

/* Keys read back: 0 or -EIO. */
int record_parse_ino(const void *bytes, size_t length, uint64_t *ret_ino) _must_check_;
int record_parse_time(const void *bytes, size_t length, int64_t *ret_ms, uint64_t *ret_ino) _must_check_;
int record_parse_entry(
	const void *bytes, size_t length, uint64_t *ret_dir, char ret_name[static JOURNAL_NAME_MAX + 1]) _must_check_;
int record_parse_name(const void *bytes, size_t length, uint64_t *ret_ino, uint64_t *ret_dir,
	char ret_name[static JOURNAL_NAME_MAX + 1]) _must_check_;

/* Without a proven generation, what is said about the proven content is not kept. */
int record_encode_file(struct buf *buf, const struct journal_file *file);
int record_decode_file(const void *bytes, size_t length, uint64_t ino, struct journal_file *ret) _must_check_;

/* Without a key, what is said about the object is not kept. */
int record_encode_entry(struct buf *buf, const struct journal_entry *entry);
int record_decode_entry(
	const void *bytes, size_t length, uint64_t dir, const char *name, struct journal_entry *ret) _must_check_;

int record_encode_blocks(struct buf *buf, uint32_t n_blocks, uint8_t (*blocks)[JOB_SHA256_BYTES]);
/* The digests are borrowed from bytes. */
int record_decode_blocks(
	const void *bytes, size_t length, uint32_t *ret_n_blocks, const void **ret_blocks) _must_check_;

/* Value of the object index: which entry relies on the key. The name is left out where the key ends with it and stands
 * whole in the index. Decoding wants the same key. */
int record_encode_object(struct buf *buf, const char *key, uint64_t dir, const char *name);
int record_decode_object(const void *bytes, size_t length, const char *key, uint64_t *ret_dir,
	char ret_name[static JOURNAL_NAME_MAX + 1]) _must_check_;

int record_encode_counts(struct buf *buf, const struct journal_counts *counts);
int record_decode_counts(const void *bytes, size_t length, struct journal_counts *ret) _must_check_;

int record_encode_schema(struct buf *buf, uint32_t schema);
int record_decode_schema(const void *bytes, size_t length, uint32_t *ret) _must_check_;

#endif
