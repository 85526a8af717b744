/* A look at everything, in a child: LMDB trusts its pages, and bad ones end in an assertion, SIGBUS or SIGSEGV. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusefs/journal/store_internal.h"

typedef int (*visit_fn)(enum store_db db, struct store_bytes key, struct store_bytes value);

#define PROBE_SOUND 0
#define PROBE_DAMAGED 1
#define PATIENCE_S                                                                                                   \
	10 /* for so many records; a child of a process with threads may find a lock that nobody gives back */
#define RECORDS_AT_A_TIME 4096
#define PROBE_FAILED 2 /* for want of memory and the like: nothing is known */

/* Strictly ascending: garbage in a branch page leads anywhere, not onwards. */
static bool is_ascending(const MDB_val *last, const MDB_val *key)
{
	size_t length = last->mv_size < key->mv_size ? last->mv_size : key->mv_size;
	int order = memcmp(last->mv_data, key->mv_data, length);

	return order < 0 || (order == 0 && last->mv_size < key->mv_size);
}

static int walk_db(MDB_txn *txn, MDB_dbi dbi, enum store_db db, visit_fn visit)
{
	MDB_cursor *cursor;
	MDB_val last = {0}, key, value;
	MDB_stat stat;
	size_t n = 0;
	int code = mdb_cursor_open(txn, dbi, &cursor);

	for (; code == 0 && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0; n++, last = key) {
		int r = last.mv_data && !is_ascending(&last, &key)
				? -EIO
				: visit(db, (struct store_bytes){key.mv_data, key.mv_size},
					  (struct store_bytes){value.mv_data, value.mv_size});

		if (r < 0)
			return r;
		if (n % RECORDS_AT_A_TIME == 0)
			alarm(PATIENCE_S);
	}
	if (code == MDB_NOTFOUND)
		code = mdb_stat(txn, dbi, &stat);
	return code != 0 ? store_translate(code) : n == stat.ms_entries ? 0 : -EIO;
}

static int walk(MDB_env *env, visit_fn visit)
{
	MDB_txn *txn;
	int r = store_translate(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));

	for (int db = 0; r == 0 && db < STORE_DBS; db++) {
		MDB_dbi dbi;
		int code = mdb_dbi_open(txn, store_db_names[db], 0, &dbi);

		/* One that is not there is not damage by itself: store_attach() knows. */
		if (code == 0)
			r = walk_db(txn, dbi, (enum store_db)db, visit);
		else if (code != MDB_NOTFOUND)
			r = store_translate(code);
	}
	return r;
}

static void on_assert(MDB_env *env, const char *message)
{
	(void)env;
	(void)message;
	_exit(PROBE_DAMAGED);
}

/* An environment of its own, without LMDB's lock file: the parent is the owner and stands still. */
static int probe(const char *directory, visit_fn visit)
{
	MDB_env *env;
	int code = mdb_env_create(&env);

	if (code == 0)
		code = mdb_env_set_maxdbs(env, STORE_DBS);
	if (code == 0)
		code = mdb_env_set_assert(env, on_assert);
	if (code == 0)
		code = mdb_env_open(env, directory, MDB_RDONLY | MDB_NOLOCK, 0);
	int r = code == 0 ? walk(env, visit) : store_translate(code);

	if (r == -ENOMEM)
		return PROBE_FAILED;
	return r == 0 ? PROBE_SOUND : PROBE_DAMAGED;
}

static void child(const char *directory, visit_fn visit, pid_t parent)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	const struct rlimit no_core = {0, 0};
	sigset_t none;

	/* Others learn of the parent's death by the end of its connections: none of them may live on here. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (close_range(STDERR_FILENO + 1, UINT_MAX, 0) < 0 || getppid() != parent)
		_exit(PROBE_FAILED);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	alarm(PATIENCE_S);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	_exit(probe(directory, visit));
}

int store_probe(const char *directory, visit_fn visit)
{
	int status;
	pid_t self = getpid(), pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		child(directory, visit, self);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == PROBE_FAILED)
		return -ENOMEM;
	/* Killed from outside, or got nowhere: no verdict, and none is made up. */
	if (WIFSIGNALED(status) &&
		(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGALRM))
		return -EINTR;
	return WIFEXITED(status) && WEXITSTATUS(status) == PROBE_SOUND ? 0 : -EIO;
}
