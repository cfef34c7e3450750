/*
 * worker/launcher.c
 *		One process per server, which sees to it that every database with work
 *		has a worker.
 *
 * It is connected to no database, and reads only which there are. Whether one
 * has work can only be seen from within, so it has a worker visit it: at once
 * when a transaction there made work (shmem.c), every migrate.usage_flush_interval
 * while deprecated columns are used there (lifecycle/use_flush.c), and else every
 * migrate.naptime, since a restored dump or a promoted standby brings work
 * that nobody announced. Visits are made one after the other, the next when
 * the last has ended or has found work and stays; so they need one process at
 * a time. Databases that nobody may connect to, and templates, are left alone.
 *
 * It starts when recovery has ended, hence not on a standby until that is
 * promoted, and again after a crash. It keeps nothing: at its start every
 * database is visited.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/use_counter.h"
#include "guc.h"
#include "migrate.h"
#include "worker/session.h"
#include "worker/slot.h"
#include "worker/worker.h"

/* What the connection limit of a database says whose DROP was broken off. */
#define INVALID_DATABASE		(-2)

/* How long to wait where the server had no process to spare, in milliseconds. */
#define START_RETRY_WAIT	5000

PGDLLEXPORT void migrate_worker_launcher_main(Datum argument);

static List *to_visit = NIL;	/* of Oid, in TopMemoryContext */
static Oid	visited = InvalidOid;	/* the one whose answer is awaited, */
static TimestampTz visited_at;	/*   for no longer than migrate.naptime */

/* ---- which databases ---- */

static void
add_visit(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	to_visit = list_append_unique_oid(to_visit, database);
	MemoryContextSwitchTo(old);
}

static bool
may_be_visited(Form_pg_database database)
{
	return database->datallowconn && !database->datistemplate &&
		database->datconnlimit != INVALID_DATABASE;
}

/* All that there are, or those of the given ones; returns which of these there are not. */
static List *
add_databases(bool all, List *given)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (may_be_visited(database) && (all || list_member_oid(given, database->oid)))
			add_visit(database->oid);
		given = list_delete_oid(given, database->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return given;
}

/* Where uses of deprecated columns were counted, and wait for being written down. */
static void
add_databases_with_uses(void)
{
	List	   *databases = migrate_use_counter_databases();
	ListCell   *lc;

	if (databases == NIL)
		return;
	databases = add_databases(false, databases);
	foreach(lc, databases)
		migrate_use_counter_discard(lfirst_oid(lc));
	list_free(databases);
}

/* What others asked for; true where they asked for everything. */
static bool
take_requests(List **databases)
{
	bool		everywhere;
	int			count;
	Oid			requests[MIGRATE_MAX_REQUESTS];

	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	everywhere = migrate_shared->look_everywhere;
	count = migrate_shared->nrequests;
	memcpy(requests, migrate_shared->requests, count * sizeof(Oid));
	migrate_shared->look_everywhere = false;
	migrate_shared->nrequests = 0;
	LWLockRelease(migrate_shared->lock);

	*databases = NIL;
	for (int i = 0; i < count; i++)
		*databases = lappend_oid(*databases, requests[i]);
	return everywhere;
}

/* ---- visits ---- */

static bool
is_answer_awaited(void)
{
	return OidIsValid(visited) && migrate_slot_is_unsettled(visited) &&
		!TimestampDifferenceExceeds(visited_at, GetCurrentTimestamp(),
									migrate_guc_naptime * 1000);
}

/* Go as far as can be gone now; false where the server has no process to spare. */
static bool
make_visits(void)
{
	while (to_visit != NIL)
	{
		Oid			database = linitial_oid(to_visit);

		if (is_answer_awaited())
			return true;
		if (!migrate_slot_poke(database) && !migrate_slot_start(database, InvalidOid, 0))
			return false;
		visited = database;
		visited_at = GetCurrentTimestamp();
		to_visit = list_delete_first(to_visit);
	}
	return true;
}

/* ---- the process ---- */

static void
sign_off(int code, Datum arg)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	migrate_shared->launcher = NULL;
	LWLockRelease(migrate_shared->lock);
}

static void
sign_on(void)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	migrate_shared->launcher = MyLatch;
	migrate_shared->look_everywhere = true;
	LWLockRelease(migrate_shared->lock);
	before_shmem_exit(sign_off, (Datum) 0);
}

static void
forget_visits(void)
{
	list_free(to_visit);
	to_visit = NIL;
}

void
migrate_worker_launcher_main(Datum argument)
{
	TimestampTz last_round = 0;
	TimestampTz last_flush = 0;
	bool		was_on = false;

	migrate_session_begin(InvalidOid, NULL, SignalHandlerForShutdownRequest);
	sign_on();
	pgstat_report_activity(STATE_IDLE, NULL);
	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		nap = Min(migrate_guc_naptime, migrate_guc_usage_flush_interval) * 1000L;
		List	   *requests;
		bool		everywhere = take_requests(&requests) || !was_on ||
			TimestampDifferenceExceeds(last_round, now, migrate_guc_naptime * 1000);

		if (!migrate_guc_autostart)
			forget_visits();
		else if (everywhere || requests != NIL)
			requests = add_databases(everywhere, requests);
		list_free(requests);
		if (everywhere)
			last_round = now;
		if (migrate_guc_autostart &&
			TimestampDifferenceExceeds(last_flush, now, migrate_guc_usage_flush_interval * 1000))
		{
			add_databases_with_uses();
			last_flush = now;
		}
		was_on = migrate_guc_autostart;
		if (!make_visits())
			nap = Min(nap, START_RETRY_WAIT);
		migrate_session_sleep(nap);
	}
	proc_exit(1);				/* zero would be the last of it: see bgw_restart_time */
}

void
migrate_worker_init(void)
{
	BackgroundWorker worker = {
		.bgw_name = "migrate launcher",
		.bgw_type = "migrate launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 5,
		.bgw_library_name = MIGRATE_LIBRARY,
		.bgw_function_name = "migrate_worker_launcher_main",
	};

	if (!IsBinaryUpgrade)
		RegisterBackgroundWorker(&worker);
}
