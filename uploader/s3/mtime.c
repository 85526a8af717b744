#include "uploader/s3/mtime.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "uploader/base/units.h"

const char *mtime_format(int64_t mtime_ns, char out[static MTIME_BYTES])
{
	uint64_t ns = mtime_ns < 0 ? -(uint64_t)mtime_ns : (uint64_t)mtime_ns;
	int length = snprintf(out, MTIME_BYTES, "%s%" PRIu64 ".%09" PRIu64, mtime_ns < 0 ? "-" : "",
		ns / (uint64_t)NSEC_PER_SEC, ns % (uint64_t)NSEC_PER_SEC);

	while (out[length - 1] == '0')
		out[--length] = '\0';
	if (out[length - 1] == '.')
		out[length - 1] = '\0';
	return out;
}
