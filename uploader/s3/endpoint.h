/* Where a bucket is: endpoint, region and addressing style, and the URL of a key. Pure; any thread. */
#ifndef EBBFS_S3_ENDPOINT_H
#define EBBFS_S3_ENDPOINT_H

#include "uploader/base/buf.h"
#include "uploader/base/config.h"

#define ENDPOINT_HOST_MAX 512
#define ENDPOINT_REGION_MAX 64

struct endpoint {
	bool custom;                      /* AWS_ENDPOINT_URL…: a region redirect leaves it alone */
	bool virtual_host;                /* the bucket is in the host's name, not in the path */
	char scheme[6];                   /* http or https */
	char host[ENDPOINT_HOST_MAX];     /* as in the Host header: bucket and non-default port included */
	char base[ENDPOINT_HOST_MAX];     /* path before the key, encoded: "", "/bucket", "/base/bucket" */
	char region[ENDPOINT_REGION_MAX]; /* for signing */
};

/* url: NULL or "" for AWS itself in that region. 0, or -EINVAL when url is no http(s)://host[:port][/base], the region
 * is no region's name, or the whole is too long. */
int endpoint_init(struct endpoint *ret, const char *url, const char *region, const char *bucket,
	enum config_addressing addressing) _must_check_;

/* Appends the encoded path of a key, from the first '/'. Returns buf->error. */
int endpoint_path(struct buf *buf, const struct endpoint *endpoint, const char *key);

#endif
