#include "fusefs/policy/ask.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "uploader/base/sock.h"

int ask_encode(struct buf *buf, const struct ask_request *request)
{
	size_t length = strnlen(request->path, sizeof(request->path));

	buf_reset(buf);
	if (length == sizeof(request->path))
		return buf->error = -E2BIG;
	buf_put_u32(buf, ASK_MAGIC);
	buf_put_u16(buf, ASK_VERSION);
	buf_put_u16(buf, (uint16_t)request->type);
	return buf_put_bytes16(buf, request->path, length);
}

int ask_decode(const void *bytes, size_t length, struct ask_request *ret)
{
	struct ask_request request = {.type = ASK_STATUS};
	struct buf_reader reader;

	buf_reader_init(&reader, bytes, length);
	if (buf_get_u32(&reader) != ASK_MAGIC || buf_get_u16(&reader) != ASK_VERSION)
		return -EBADMSG;
	uint16_t type = buf_get_u16(&reader);

	buf_get_text16(&reader, request.path, sizeof(request.path));
	int r = buf_reader_finish(&reader);

	if (r < 0)
		return r;
	if (type != ASK_STATUS && type != ASK_LIST)
		return -EBADMSG;
	request.type = (enum ask_type)type;
	*ret = request;
	return 0;
}

/* One packet: its length, 0 at the end of the connection, or -errno. */
static ssize_t receive(int fd, void *bytes, size_t size, int64_t timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int r = poll(&poll_fd, 1, (int)timeout_ms);

	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	return sock_receive(fd, bytes, size, NULL, 0, NULL);
}

static int receive_answer(int fd, int64_t timeout_ms, struct buf *json, int *ret_answer)
{
	struct buf_reader reader;
	char chunk[ASK_CHUNK_BYTES];
	uint8_t head[4];

	ssize_t n = receive(fd, head, sizeof(head), timeout_ms);

	if (n < 0)
		return (int)n;
	if (n != (ssize_t)sizeof(head))
		return -EBADMSG;
	buf_reader_init(&reader, head, sizeof(head));
	int answer = (int)buf_get_u32(&reader);

	if (answer < 0)
		return -EBADMSG;
	while ((n = receive(fd, chunk, sizeof(chunk), timeout_ms)) > 0) {
		if (buf_put(json, chunk, (size_t)n) < 0)
			return json->error;
	}
	*ret_answer = -answer;
	return (int)n;
}

int ask(const char *run, const struct ask_request *request, int64_t timeout_ms, struct buf *json, int *ret_answer)
{
	_cleanup_buf_ struct buf packet = {0};
	_cleanup_close_ int fd = -1;
	int r = ask_encode(&packet, request);

	if (r < 0)
		return r;
	fd = sock_connect(run, ASK_SOCKET_STATUS);
	if (fd < 0)
		return fd;
	r = sock_send(fd, packet.data, packet.length, NULL, 0);
	if (r < 0)
		return r;
	return receive_answer(fd, timeout_ms, json, ret_answer);
}
