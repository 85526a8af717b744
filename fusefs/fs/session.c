/* The connection: what is negotiated, its beginning and end. The threads that serve it are in serve.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fusefs/fs/caller.h"
#include "fusefs/fs/internal.h"
#include "uploader/base/log.h"

#define FDCACHE_MAX 256
#define DIRCACHE_MAX 16
#define MAX_BACKGROUND 64

static void want(struct fuse_conn_info *conn, uint64_t flag)
{
	/* Sets it only where the kernel has it. */
	(void)fuse_set_feature_flag(conn, flag);
}

/* Exactly what was agreed on before: the kernel is not asked again. */
static void want_as_before(struct fuse_conn_info *conn, uint64_t agreed)
{
	for (int bit = 0; bit < 64; bit++) {
		if (agreed & 1ULL << bit)
			want(conn, 1ULL << bit);
		else
			fuse_unset_feature_flag(conn, 1ULL << bit);
	}
}

/* fuse_get_feature_flag() says what the kernel can. */
static bool wants_passthrough(const struct fuse_conn_info *conn)
{
	return conn->want_ext & FUSE_CAP_PASSTHROUGH;
}

static void negotiate(struct fs *fs, struct fuse_conn_info *conn)
{
	/* Without KILLPRIV_V2 every write asks for security.capability, from a process that may be dead at the time. */
	want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC);
	want(conn, FUSE_CAP_PARALLEL_DIROPS);
	want(conn, FUSE_CAP_READDIRPLUS);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO);
	if (fs->privileged) {
		want(conn, FUSE_CAP_POSIX_ACL);
		want(conn, FUSE_CAP_DONT_MASK);
	}
	/* Pipes cost more than they save on requests of this size; nothing but us changes the files. */
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	fuse_unset_feature_flag(conn, FUSE_CAP_AUTO_INVAL_DATA);
	/* It would turn passthrough off without a word. */
	fuse_unset_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	conn->max_write = FS_WRITE_MAX;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND;
	conn->time_gran = 1;
	if (!fs->options.passthrough) {
		fuse_unset_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
		return;
	}
	want(conn, FUSE_CAP_PASSTHROUGH);
	conn->max_backing_stack_depth = 1; /* overlayfs below is allowed */
	if (!wants_passthrough(conn))
		log_warning("this kernel has no FUSE passthrough (Linux 6.9 has): reads and writes go through this "
			    "process");
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;
	struct table_connection *connection = table_connection(&fs->table);

	negotiate(fs, conn);
	if (connection->is_init_answered)
		want_as_before(conn, connection->want);
	connection->want = conn->want_ext;
	atomic_store(
		&fs->passthrough, wants_passthrough(conn) && connection->passthrough != TABLE_PASSTHROUGH_REFUSED);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init,
	.lookup = fs_op_lookup,
	.forget = fs_op_forget,
	.forget_multi = fs_op_forget_multi,
	.getattr = fs_op_getattr,
	.setattr = fs_op_setattr,
	.readlink = fs_op_readlink,
	.statfs = fs_op_statfs,
	.mknod = fs_op_mknod,
	.mkdir = fs_op_mkdir,
	.symlink = fs_op_symlink,
	.link = fs_op_link,
	.unlink = fs_op_unlink,
	.rmdir = fs_op_rmdir,
	.rename = fs_op_rename,
	.opendir = fs_op_opendir,
	.readdir = fs_op_readdir,
	.readdirplus = fs_op_readdirplus,
	.releasedir = fs_op_releasedir,
	.fsyncdir = fs_op_fsyncdir,
	.open = fs_op_open,
	.create = fs_op_create,
	.tmpfile = fs_op_tmpfile,
	.release = fs_op_release,
	.flush = fs_op_flush,
	.read = fs_op_read,
	.write_buf = fs_op_write_buf,
	.fsync = fs_op_fsync,
	.fallocate = fs_op_fallocate,
	.lseek = fs_op_lseek,
	.copy_file_range = fs_op_copy_file_range,
	.setxattr = fs_op_setxattr,
	.getxattr = fs_op_getxattr,
	.listxattr = fs_op_listxattr,
	.removexattr = fs_op_removexattr,
};

static __attribute__((format(printf, 2, 0))) void on_libfuse_log(
	enum fuse_log_level level, const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_at(level <= FUSE_LOG_ERR ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "libfuse: %s", line);
}

/* With file handles a node is found wherever it was moved to, and after every name of it is gone. */
static bool handles_work(struct fs *fs)
{
	struct node_identity identity;
	struct stat st;
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + NODE_HANDLE_MAX];
	} h;

	fs->handles = true;
	if (fs_identify_fd(fs, fs->backing_fd, &st, &identity) < 0 || !identity.handle_bytes)
		return false;
	h.handle.handle_bytes = identity.handle_bytes;
	h.handle.handle_type = identity.handle_type;
	memcpy(h.space + sizeof(struct file_handle), identity.handle, NODE_HANDLE_MAX);
	_cleanup_close_ int fd = open_by_handle_at(fs->backing_fd, &h.handle, O_PATH | O_CLOEXEC);
	return fd >= 0;
}

static int set_up_tables(struct fs *fs)
{
	struct node_identity identity;
	struct stat st;

	if (fstat(fs->backing_fd, &st) < 0)
		return -errno;
	fs->dev = (uint32_t)st.st_dev;
	fs->handles = handles_work(fs);
	int r = fs_identify_fd(fs, fs->backing_fd, &st, &identity);

	if (r < 0)
		return r;
	if (fs->state_fd < 0)
		fs->state_fd = memfd_create("ebbfs-state", MFD_CLOEXEC);
	if (fs->state_fd < 0)
		return -errno;
	r = table_init(&fs->table, fs->state_fd, &identity);
	if (r == 0)
		r = fdcache_init(&fs->fdcache, FDCACHE_MAX);
	return r < 0 ? r : fdcache_init(&fs->dircache, DIRCACHE_MAX);
}

static int set_up_session(struct fs *fs)
{
	/* What the anchor gave to mount(2), fusermount3 has to be told here. */
	bool mounts = fs->options.fuse_fd < 0;
	char fd_path[32], *argv[] = {(char[]){"ebbfs"},
				  mounts ? (char[]){"-ofsname=ebbfs,subtype=ebbfs,default_permissions"}
					 : (char[]){"-ofsname=ebbfs"},
				  fs->options.trace ? (char[]){"-odebug"} : NULL, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(fs->options.trace ? 3 : 2, argv);

	fuse_set_log_func(fs->options.trace ? NULL : on_libfuse_log);
	fs->session = fuse_session_new(&args, &operations, sizeof(operations), fs);
	fuse_opt_free_args(&args);
	if (!fs->session)
		return -EINVAL;
	snprintf(fd_path, sizeof(fd_path), "/dev/fd/%d", fs->options.fuse_fd);
	return fuse_session_mount(fs->session, fs->options.fuse_fd < 0 ? fs->options.mountpoint : fd_path) < 0
		       ? -ECONNABORTED
		       : 0;
}

int fs_new(const struct fs_options *options, struct fs **ret)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return -ENOMEM;
	fs->options = *options;
	fs->backing_fd = options->backing_fd;
	fs->state_fd = options->state_fd;
	fs->workers = calloc(options->threads, sizeof(*fs->workers));
	fs->wake_fd = eventfd(0, EFD_CLOEXEC);
	pins_init(&fs->pins, options->on_pin, options->pin_arg);
	for (size_t i = 0; i < FS_NODE_LOCKS; i++)
		pthread_mutex_init(&fs->node_locks[i], NULL);
	pthread_mutex_init(&fs->server.lock, NULL);
	pthread_cond_init(&fs->server.vacant, NULL);
	fs->privileged = caller_prepare();

	int r = fs->workers && fs->wake_fd >= 0 ? set_up_tables(fs) : -ENOMEM;

	if (r == 0)
		r = set_up_session(fs);
	if (r < 0) {
		fs_free(fs);
		return r;
	}
	*ret = fs;
	return 0;
}

bool fs_is_abandoned(const struct fs *fs)
{
	return fs && fs->is_abandoned;
}

void fs_free(struct fs *fs)
{
	if (!fs || fs->is_abandoned)
		return;
	if (fs->session) {
		if (fs->options.fuse_fd < 0)
			fuse_session_unmount(fs->session);
		fuse_session_destroy(fs->session);
	}
	pins_done(&fs->pins);
	if (fs->fdcache.buckets)
		fdcache_done(&fs->fdcache);
	if (fs->dircache.buckets)
		fdcache_done(&fs->dircache);
	table_done(&fs->table);
	cleanup_close(&fs->backing_fd);
	cleanup_close(&fs->state_fd);
	cleanup_close(&fs->wake_fd);
	free(fs->workers);
	free(fs);
}

void fs_adopt_pin(struct fs *fs, uint64_t node_id, int fd)
{
	if (pins_adopt(&fs->pins, node_id, fd) < 0)
		log_warning("out of memory: a file without a name is lost");
}

void fs_each_pin(struct fs *fs, fs_pin_fn *fn, void *arg)
{
	pins_each(&fs->pins, fn, arg);
}

bool fs_has_writer(struct fs *fs, uint64_t ino)
{
	table_lock(&fs->table);
	const struct node *node = table_find_locked(&fs->table, fs->dev, ino);
	bool writer = node && node->writers > 0;

	table_unlock(&fs->table);
	return writer;
}

void fs_get_stats(struct fs *fs, struct fs_stats *ret)
{
	*ret = (struct fs_stats){
		.read_requests = atomic_load(&fs->read_requests),
		.writers = table_writers(&fs->table),
		.write_requests = atomic_load(&fs->write_requests),
		.passthrough = atomic_load(&fs->passthrough),
		.serving = atomic_load(&fs->serving),
	};
	table_get_counts(&fs->table, &ret->nodes, &ret->handles);
}
