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
 *   for that long whether the lock is free, without standing in line. To look is
 *   not to try: where WAL is replicated, who asks for AccessExclusiveLock is given
 *   a transaction ID first, in a subtransaction one of its own, got or not;
 * - else stand in line, for migrate.lock_timeout at most: under steady short
 *   transactions the lock is never free, but the line is short.
 *
 * Where a holder waits for us (CREATE INDEX CONCURRENTLY waits for all older
 * snapshots) there is no use in coming again, and to stand in line might have its
 * deadlock detector end it, not us: so we give up.
 *
 * Between attempts whoever was held up gets through. An attempt is a
 * subtransaction, so that one that fails gives up what it got of a table's
 * partitions, or of other tables. The partitions are listed before they are locked:
 * an attempt that finds, with all locks in hand, that one has come fails as well,
 * lest the DDL wait for that one's lock with the others held.
 *
 * Weaker locks that still keep writers out are got in the same way.
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

#include "catalog/sessions.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "guc.h"
#include "lifecycle/lock.h"

#define POLL_INTERVAL_MS	10

/* Those who hold a lock on the table or a partition of it in one of those modes. */
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
	" AND l.mode = ANY ($2) AND l.pid IS DISTINCT FROM pg_backend_pid()"

#define HOLDERS_ARGS(table) \
	store_relation((table)->relid), store_text_array(conflicting_modes((table)->mode))

/* As pg_locks calls them. */
static List *
conflicting_modes(LOCKMODE mode)
{
	List	   *names = NIL;

	for (LOCKMODE other = AccessShareLock; other <= MaxLockMode; other++)
		if (DoLockModesConflict(mode, other))
			names = lappend(names, (char *) GetLockmodeName(DEFAULT_LOCKMETHOD, other));
	return names;
}

static bool
is_held_by_long_transaction(const TableLock *table)
{
	char	   *since;

	since = migrate_store_fetch("SELECT extract(epoch FROM clock_timestamp() -"
								" min(coalesce(a.xact_start, x.prepared)))" HOLDERS,
								STORE_ARGS(HOLDERS_ARGS(table)));
	return since != NULL && atof(since) * 1000.0 > migrate_guc_lock_timeout;
}

static bool
held_by_long_transaction(List *tables)
{
	ListCell   *lc;

	pgstat_clear_snapshot();
	foreach(lc, tables)
		if (is_held_by_long_transaction(lfirst(lc)))
			return true;
	return false;
}

/* A prepared transaction that has ended since its lock was seen has no name any more. */
static char *
describe_holders(const TableLock *table, Oid asker)
{
	return migrate_store_fetch("SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL AND x.gid IS NULL"
							   " THEN NULL WHEN l.pid IS NULL"
							   " THEN format('prepared transaction %L of %I', x.gid, x.owner)"
							   " ELSE " SESSION_IN_WORDS("l.pid", "$3") " END, '; ')" HOLDERS,
							   STORE_ARGS(HOLDERS_ARGS(table), store_oid(asker)));
}

/* The holders of the first of the tables that has any; NULL where none has. */
static char *
describe_first_holders(List *tables, Oid asker)
{
	ListCell   *lc;

	pgstat_clear_snapshot();
	foreach(lc, tables)
	{
		char	   *holders = describe_holders(lfirst(lc), asker);

		if (holders != NULL)
			return holders;
	}
	return NULL;
}

char *
migrate_lock_holders(List *tables)
{
	return describe_first_holders(tables, InvalidOid);
}

static char *
describe_all_holders(List *tables)
{
	char	   *holders = describe_first_holders(tables, GetUserId());

	return holders ? holders : pstrdup("sessions that have gone meanwhile");
}

static void
check_nobody_waits_for_us(List *tables, const char *what)
{
	ListCell   *lc;

	pgstat_clear_snapshot();
	foreach(lc, tables)
	{
		const TableLock *table = lfirst(lc);
		char	   *waiting = migrate_store_fetch("SELECT format('process %s (%s)', a.pid,"
												  " coalesce(nullif(a.application_name, ''), 'unnamed program'))"
												  HOLDERS
												  " AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid)) LIMIT 1",
												  STORE_ARGS(HOLDERS_ARGS(table)));

		if (waiting != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("could not lock table \"%s\" to %s", get_rel_name(table->relid), what),
					 errdetail("It is held by %s, which waits for this transaction to end.", waiting),
					 errhint("Try again when that has finished.")));
	}
}

/* ---- an attempt ---- */

static TableLock *
make_lock(Oid relid, LOCKMODE mode)
{
	TableLock  *lock = palloc(sizeof(TableLock));

	lock->relid = relid;
	lock->mode = mode;
	return lock;
}

static List *
with_partitions(List *tables)
{
	List	   *locks = NIL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		const TableLock *table = lfirst(lc);
		ListCell   *each;

		foreach(each, find_all_inheritors(table->relid, NoLock, NULL))
			locks = lappend(locks, make_lock(lfirst_oid(each), table->mode));
	}
	return locks;
}

/* Would it be got at once? Only looks. */
static bool
is_free(const TableLock *lock)
{
	LOCKTAG		tag;
	int			conflicts;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, lock->relid);
	pfree(GetLockConflicts(&tag, lock->mode, &conflicts));
	return conflicts == 0;
}

static bool
all_free(List *locks)
{
	ListCell   *lc;

	foreach(lc, locks)
		if (!is_free(lfirst(lc)))
			return false;
	return true;
}

static void
fail_attempt(const char *reason, Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg_internal("relation %u %s", relid, reason)));
}

static void
lock_if_free(List *locks)
{
	ListCell   *lc;

	foreach(lc, locks)
	{
		const TableLock *lock = lfirst(lc);

		if (!ConditionalLockRelationOid(lock->relid, lock->mode))
			fail_attempt("is locked", lock->relid);
	}
}

/*
 * How long to stand in line, in milliseconds. A statement on a partition looks
 * at its parents too, and who writes to two tables may do so in any order: so
 * locks are taken in another order than ours. That deadlock is ours to end,
 * before anybody's deadlock detector picks the other.
 */
static int
patience(List *locks)
{
	return list_length(locks) == 1 ? migrate_guc_lock_timeout
		: Max(1, Min(migrate_guc_lock_timeout, DeadlockTimeout / 2));
}

void
migrate_lock_limit_wait(int milliseconds)
{
	char		timeout[16];

	snprintf(timeout, sizeof(timeout), "%d", milliseconds);
	(void) set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
lock_in_line(List *locks)
{
	ListCell   *lc;
	int			nestlevel = NewGUCNestLevel();

	migrate_lock_limit_wait(patience(locks));
	foreach(lc, locks)
		LockRelationOid(((TableLock *) lfirst(lc))->relid, ((TableLock *) lfirst(lc))->mode);
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
	List	   *tables;			/* of TableLock * */
	List	   *locks;			/* the same, partitions included */
	bool		in_line;
} LockAttempt;

static bool
is_among(const TableLock *lock, List *locks)
{
	ListCell   *lc;

	foreach(lc, locks)
		if (((TableLock *) lfirst(lc))->relid == lock->relid)
			return true;
	return false;
}

/* With its parent locked no other partition can come. */
static void
check_no_partition_came(const LockAttempt *attempt)
{
	ListCell   *lc;

	foreach(lc, with_partitions(attempt->tables))
	{
		const TableLock *lock = lfirst(lc);

		if (!is_among(lock, attempt->locks))
			fail_attempt("has become a partition", lock->relid);
	}
}

static void
lock_all(void *context)
{
	LockAttempt *attempt = context;

	if (attempt->in_line)
		lock_in_line(attempt->locks);
	else
		lock_if_free(attempt->locks);
	check_no_partition_came(attempt);
}

/* One try for all of them, or none. */
static bool
try_lock(List *tables, List *locks, bool in_line)
{
	LockAttempt attempt = {tables, locks, in_line};
	ErrorData  *error;

	if (!in_line && !all_free(locks))
		return false;
	error = migrate_try(lock_all, &attempt);
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
watch_until_free(List *tables, List *locks)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  migrate_guc_lock_timeout);

	while (GetCurrentTimestamp() < end)
	{
		nap(POLL_INTERVAL_MS);
		if (try_lock(tables, locks, false))
			return true;
	}
	return false;
}

static bool
attempt(List *tables, const char *what)
{
	List	   *locks = with_partitions(tables);

	if (try_lock(tables, locks, false))
		return true;
	check_nobody_waits_for_us(tables, what);
	if (held_by_long_transaction(tables))
		return watch_until_free(tables, locks);
	return try_lock(tables, locks, true);
}

/*
 * A partition that is being detached concurrently has our trigger and is not
 * changed with the others. That ends by itself, unless it was broken off.
 */
static void
check_no_pending_detach(List *tables, const char *what)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		Oid			relid = ((TableLock *) lfirst(lc))->relid;
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
}

void
migrate_lock_tables(List *tables, const char *what)
{
	for (int i = 1; i <= migrate_guc_lock_attempts; i++)
	{
		if (attempt(tables, what))
		{
			check_no_pending_detach(tables, what);
			return;
		}
		/* Let those through who came meanwhile; two of us not in step. */
		if (i < migrate_guc_lock_attempts)
			nap(POLL_INTERVAL_MS +
				pg_prng_uint64_range(&pg_global_prng_state, 0, migrate_guc_lock_timeout / 4));
	}
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock table \"%s\" to %s",
					get_rel_name(((TableLock *) linitial(tables))->relid), what),
			 errdetail("%d attempts of %d ms each found it held by %s.",
					   migrate_guc_lock_attempts, migrate_guc_lock_timeout,
					   describe_all_holders(tables)),
			 errhint("Wait for those transactions or end them, then try again; or raise migrate.lock_attempts.")));
}

List *
migrate_lock_add(List *tables, Oid relid, LOCKMODE mode)
{
	return lappend(tables, make_lock(relid, mode));
}

void
migrate_lock_table(Oid relid, const char *what)
{
	migrate_lock_tables(migrate_lock_add(NIL, relid, AccessExclusiveLock), what);
}
