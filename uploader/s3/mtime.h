/* A file's time in the form of rclone's x-amz-meta-mtime: decimal seconds since 1970, negative before, with as many of
 * 9 decimals as it takes. Pure; any thread. */
#ifndef EBBFS_S3_MTIME_H
#define EBBFS_S3_MTIME_H

#include <stdint.h>

#define MTIME_BYTES 24

/* 1700000000.123456789, 1700000000.5, 1700000000, -0.5. Returns out. */
const char *mtime_format(int64_t mtime_ns, char out[static MTIME_BYTES]);

#endif
