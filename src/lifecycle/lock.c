/*
 * lifecycle/lock.c
 *		Getting a strong lock on a busy table without a queue behind it.
 *
 * A request for AccessExclusiveLock that waits makes everybody wait who comes
 * after it, readers too. So an attempt goes like this:
 *
 * - take the lock if it is free;
 * - where a holder's transaction has been open for longer than
 *   migrate.lock_timeout, it will hardly end within another: look now and then
 *   for that long whether the lock is free, without standing in line;
 * - else stand in line, for migrate.lock_timeout at most: under steady short
 *   transactions the lock is never free, but the line is short.
 *
 * Where a holder waits for us (CREATE INDEX CONCURRENTLY waits for all older
 * snapshots) there is no use in coming again, and to stand in line might have its
 * deadlock detector end it, not us: so we give up.
 *
 * Between attempts whoever was held up gets through. An attempt is a
 * subtransaction, so that one that fails gives up what it got of a table's
 * partitions.
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/store.h"
#include "catalog/try.h"
#include "guc.h"
#include "lifecycle/lock.h"

#define POLL_INTERVAL_MS	10

/* Those who hold any lock on the table or a partition of it: all conflict with ours. */
#define HOLDERS \
	" FROM pg_locks l" \
	" LEFT JOIN pg_stat_activity a ON a.pid = l.pid" \
	" LEFT JOIN pg_prepared_xacts x ON l.pid IS NULL" \
	"  AND EXISTS (SELECT 1 FROM pg_locks t WHERE t.locktype = 'transactionid'" \
	"   AND t.virtualtransaction = l.virtualtransaction" \
	"   AND t.transactionid = x.transaction)" \
	" WHERE l.locktype = 'relation' AND l.granted" \
	" AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())" \
	" AND (l.relation = $1 OR l.relation IN" \
	"  (SELECT relid FROM pg_partition_tree($1) WHERE relid <> $1))" \
	" AND l.pid IS DISTINCT FROM pg_backend_pid()"

static bool
held_by_long_transaction(Oid relid)
{
	char	   *since;

	pgstat_clear_snapshot();
	since = migrate_store_fetch("SELECT extract(epoch FROM clock_timestamp() -"
								" min(coalesce(a.xact_start, x.prepared)))" HOLDERS,
								STORE_ARGS(store_relation(relid)));
	return since != NULL && atof(since) * 1000.0 > migrate_guc_lock_timeout;
}

static char *
describe_holders(Oid relid)
{
	char	   *holders;

	pgstat_clear_snapshot();
	holders = migrate_store_fetch("SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL"
								  " THEN format('prepared transaction %L of %I', x.gid, x.owner)"
								  " ELSE format('process %s (%s, %s, in its transaction for %s s)',"
								  " l.pid, coalesce(a.usename, a.backend_type),"
								  " coalesce(nullif(a.application_name, ''), 'unnamed program'),"
								  " coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, 0))"
								  " END, '; ')" HOLDERS,
								  STORE_ARGS(store_relation(relid)));
	return holders ? holders : pstrdup("sessions that have gone meanwhile");
}

static void
check_nobody_waits_for_us(Oid relid, const char *what)
{
	char	   *waiting;

	pgstat_clear_snapshot();
	waiting = migrate_store_fetch("SELECT format('process %s (%s)', a.pid,"
								  " coalesce(nullif(a.application_name, ''), 'unnamed program'))"
								  HOLDERS
								  " AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid)) LIMIT 1",
								  STORE_ARGS(store_relation(relid)));
	if (waiting != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"%s\" to %s", get_rel_name(relid), what),
				 errdetail("It is held by %s, which waits for this transaction to end.", waiting),
				 errhint("Try again when that has finished.")));
}

/* ---- an attempt ---- */

static void
lock_if_free(List *relids)
{
	ListCell   *lc;

	foreach(lc, relids)
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessExclusiveLock))
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg_internal("relation %u is locked", lfirst_oid(lc))));
}

/*
 * How long to stand in line, in milliseconds. A statement on a partition looks
 * at its parents too, and so takes the locks in another order than we do. That
 * deadlock is ours to end, before anybody's deadlock detector picks the other.
 */
static int
patience(List *relids)
{
	return list_length(relids) == 1 ? migrate_guc_lock_timeout
		: Max(1, Min(migrate_guc_lock_timeout, DeadlockTimeout / 2));
}

static void
lock_in_line(List *relids)
{
	ListCell   *lc;
	int			nestlevel = NewGUCNestLevel();
	char		timeout[16];

	snprintf(timeout, sizeof(timeout), "%d", patience(relids));
	(void) set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	foreach(lc, relids)
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
	AtEOXact_GUC(false, nestlevel);
}

static bool
is_lock_failure(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

typedef struct LockAttempt
{
	List	   *relids;
	bool		in_line;
} LockAttempt;

static void
lock_all(void *context)
{
	LockAttempt *attempt = context;

	if (attempt->in_line)
		lock_in_line(attempt->relids);
	else
		lock_if_free(attempt->relids);
}

/* One try for all of them, or none. */
static bool
try_lock(List *relids, bool in_line)
{
	LockAttempt attempt = {relids, in_line};
	ErrorData  *error = migrate_try(lock_all, &attempt);

	if (error == NULL)
		return true;
	if (!is_lock_failure(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

static void
nap(long milliseconds)
{
	CHECK_FOR_INTERRUPTS();
	pg_usleep(milliseconds * 1000L);
	CHECK_FOR_INTERRUPTS();
}

/* Look for as long as an attempt may take whether the lock is free. */
static bool
watch_until_free(List *relids)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  migrate_guc_lock_timeout);

	while (GetCurrentTimestamp() < end)
	{
		nap(POLL_INTERVAL_MS);
		if (try_lock(relids, false))
			return true;
	}
	return false;
}

static bool
attempt(Oid relid, const char *what)
{
	List	   *relids = find_all_inheritors(relid, NoLock, NULL);

	if (try_lock(relids, false))
		return true;
	check_nobody_waits_for_us(relid, what);
	if (held_by_long_transaction(relid))
		return watch_until_free(relids);
	return try_lock(relids, true);
}

/*
 * A partition that is being detached concurrently has our trigger and is not
 * changed with the others. That ends by itself, unless it was broken off.
 */
static void
check_no_pending_detach(Oid relid, const char *what)
{
	char	   *partition = migrate_store_fetch("WITH RECURSIVE tree AS (SELECT $1::oid AS relid"
												" UNION ALL SELECT i.inhrelid FROM tree"
												"  JOIN pg_inherits i ON i.inhparent = tree.relid)"
												" SELECT i.inhrelid::regclass FROM pg_inherits i"
												" JOIN tree ON tree.relid = i.inhparent"
												" WHERE i.inhdetachpending LIMIT 1",
												STORE_ARGS(store_relation(relid)));

	if (partition != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot lock table \"%s\" to %s", get_rel_name(relid), what),
				 errdetail("Its partition %s is being detached, or that was not finished.", partition),
				 errhint("Wait, or use ALTER TABLE ... DETACH PARTITION %s FINALIZE.", partition)));
}

void
migrate_lock_table(Oid relid, const char *what)
{
	for (int i = 1; i <= migrate_guc_lock_attempts; i++)
	{
		if (attempt(relid, what))
		{
			check_no_pending_detach(relid, what);
			return;
		}
		/* Let those through who came meanwhile; two of us not in step. */
		if (i < migrate_guc_lock_attempts)
			nap(POLL_INTERVAL_MS +
				pg_prng_uint64_range(&pg_global_prng_state, 0, migrate_guc_lock_timeout / 4));
	}
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock table \"%s\" to %s", get_rel_name(relid), what),
			 errdetail("%d attempts of %d ms each found it held by %s.",
					   migrate_guc_lock_attempts, migrate_guc_lock_timeout,
					   describe_holders(relid)),
			 errhint("Wait for those transactions or end them, then try again; or raise migrate.lock_attempts.")));
}
