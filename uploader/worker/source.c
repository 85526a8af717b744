#include "uploader/worker/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uploader/base/fdio.h"
#include "uploader/base/units.h"

void source_unload(struct source *source)
{
	free(source->whole);
	source->whole = NULL;
}

void source_done(struct source *source)
{
	source_unload(source);
	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
}

int source_init(struct source *source, int fd, uint64_t size_bytes, int64_t mtime_ns)
{
	*source = (struct source){.fd = fd};
	if (fstat(fd, &source->seen) < 0)
		return -errno;
	if (!S_ISREG(source->seen.st_mode))
		return -EINVAL;
	if ((uint64_t)source->seen.st_size != size_bytes || timespec_ns(source->seen.st_mtim) != mtime_ns)
		return -ESTALE;
	return 0;
}

int source_load(struct source *source)
{
	size_t size = (size_t)source->seen.st_size;

	if (source->whole || source->seen.st_size > SOURCE_WHOLE_BYTES)
		return 0;
	source->whole = malloc(size ? size : 1);
	if (!source->whole)
		return -ENOMEM;
	ssize_t n = pread_full(source->fd, source->whole, size, 0);

	if (n >= 0 && (size_t)n == size)
		return 0;
	source_unload(source);
	return n < 0 ? (int)n : -ESTALE;
}

ssize_t source_read(struct source *source, void *bytes, size_t length, uint64_t offset)
{
	uint64_t size = (uint64_t)source->seen.st_size;

	if (!source->whole)
		return pread_full(source->fd, bytes, length, (off_t)offset);
	if (offset >= size)
		return 0;
	if (length > size - offset)
		length = (size_t)(size - offset);
	memcpy(bytes, source->whole + offset, length);
	return (ssize_t)length;
}

bool source_unchanged(const struct source *source)
{
	struct stat st;

	return fstat(source->fd, &st) == 0 && st.st_size == source->seen.st_size &&
	       timespec_ns(st.st_mtim) == timespec_ns(source->seen.st_mtim) &&
	       timespec_ns(st.st_ctim) == timespec_ns(source->seen.st_ctim);
}
