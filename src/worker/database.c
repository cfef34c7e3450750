/*
 * worker/database.c
 *		A database's worker: it sees to it that every table with work has one.
 *
 * It finds out what is to be done, starts workers for tables as far as
 * migrate.max_workers allows, first one for each and then what helps them, is woken
 * when one of them ends, and exits when nothing is left that a worker could do. All that it
 * changes is that it writes down who has used deprecated columns. One that ends
 * for whatever reason is started again by the launcher, which visits each
 * database now and then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backfill/part.h"
#include "catalog/installation.h"
#include "catalog/store.h"
#include "guc.h"
#include "lifecycle/use_flush.h"
#include "migrate.h"
#include "worker/session.h"
#include "worker/slot.h"

/* Between two workers of one table, lest one that cannot start keeps us busy. */
#define RESTART_WAIT	1000	/* milliseconds */

PGDLLEXPORT void migrate_worker_database_main(Datum argument);

/* A worker that a table may have. */
typedef struct Start
{
	Oid			relation;
	int			number;
	TimestampTz at;
} Start;

static List *starts = NIL;		/* of Start *, in TopMemoryContext */

/* ---- what is to be done ---- */

/*
 * Tables with a migration that is not complete, but for those of which only
 * rows are left that fail, as long as any is left (backfill/progress.c); and
 * those whose migrations are, but an index on what stale rows read as is still
 * there: its builder was ended before it had dropped that.
 */
#define TABLES_WITH_WORK \
	"SELECT m.relation::oid FROM migrate.managed m" \
	" JOIN pg_class c ON c.oid = m.relation" \
	" JOIN (SELECT g.relation, max(g.version) AS newest," \
	"   bool_or(g.state = 'expanded') AS incomplete" \
	"  FROM migrate.migration g WHERE g.state IN ('expanded', 'complete')" \
	"  GROUP BY g.relation) AS live ON live.relation = m.relation" \
	" WHERE NOT m.paused AND CASE WHEN live.incomplete THEN" \
	"  NOT EXISTS (SELECT FROM migrate.backfill b WHERE b.root = m.relation" \
	"    AND b.target = live.newest AND b.phase = 'failed')" \
	"   OR EXISTS (SELECT FROM migrate.backfill b WHERE b.root = m.relation" \
	"    AND b.target = live.newest AND b.phase IN ('converting', 'waiting'))" \
	"   OR EXISTS (SELECT FROM migrate.backfill b JOIN pg_class h ON h.oid = b.relation" \
	"    WHERE b.root = m.relation AND b.phase = 'failed' AND b.filenode <> h.relfilenode)" \
	"   OR NOT EXISTS (SELECT FROM migrate.failure f WHERE f.relation = m.relation" \
	"     OR f.relation IN (SELECT b.relation FROM migrate.backfill b" \
	"      WHERE b.root = m.relation))" \
	"   AND NOT EXISTS (SELECT FROM migrate.declared_index d" \
	"    WHERE d.relation = m.relation AND d.error IS NOT NULL)" \
	"  ELSE EXISTS (SELECT FROM migrate.declared_index d WHERE d.relation = m.relation" \
	"    AND d.while_stale)" \
	"   AND EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid" \
	"    WHERE (i.indrelid = m.relation" \
	"      OR i.indrelid IN (SELECT relid FROM pg_partition_tree(m.relation)))" \
	"     AND NOT x.relispartition AND starts_with(x.relname, '" MIGRATE_INDEX_PREFIX "_'))" \
	"  END" \
	" ORDER BY m.relation"

/* A table with work, and how many workers could do something there. */
typedef struct Work
{
	Oid			relation;
	int			workers;
} Work;

/*
 * One for each part that is being converted (backfill/part.c), and for each that it
 * could be divided into. In a later round parts are not divided, and most are small:
 * those are not worth a process.
 */
#define USEFUL_WORKERS \
	"SELECT greatest(sum(CASE WHEN round > 1 THEN least((end_block - next_block) / $2, 1)" \
	"  ELSE greatest((end_block - next_block) / $2, 1) END), 1)" \
	" FROM migrate.backfill WHERE root = $1 AND phase = 'converting'"

static int
useful_workers(Oid relation)
{
	int			most = Min(migrate_guc_workers_per_table, migrate_guc_max_workers);
	char	   *useful;

	if (most == 1)
		return 1;
	useful = migrate_store_fetch(USEFUL_WORKERS,
								 STORE_ARGS(store_relation(relation),
											store_bigint(migrate_part_min_blocks())));
	return (int) Min(strtoll(useful, NULL, 10), most);
}

/* Is there anything to do here, by those who may connect? */
static bool
is_open(void)
{
	char	   *open = migrate_store_fetch("SELECT datallowconn FROM pg_database WHERE oid = $1",
										   STORE_ARGS(store_oid(MyDatabaseId)));

	return open != NULL && strcmp(open, "t") == 0;
}

/* Where it is but not served, who looks after the server learns of it from the log, too. */
static bool
is_installed(void)
{
	Installation installation;

	if (!migrate_installation_read(&installation) ||
		!OidIsValid(migrate_store_table("backfill")))
		return false;
	migrate_installation_check(&installation);
	return true;
}

/* What uses of deprecated columns were counted is carried to the table; of Work *, in
 * the caller's memory context. */
static List *
find_work(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *tables = NIL;

	migrate_session_begin_transaction();
	if (is_installed() && is_open())
	{
		ListCell   *lc;

		migrate_use_flush();
		foreach(lc, migrate_store_fetch_list(TABLES_WITH_WORK, STORE_NO_ARGS))
		{
			Work	   *work = MemoryContextAlloc(caller, sizeof(Work));
			MemoryContext old = MemoryContextSwitchTo(caller);

			tables = lappend(tables, work);
			MemoryContextSwitchTo(old);
			work->relation = atooid(lfirst(lc));
			work->workers = useful_workers(work->relation);
		}
	}
	migrate_session_end_transaction();
	MemoryContextSwitchTo(caller);
	return tables;
}

/* ---- having it done ---- */

static Start *
find_start(Oid relation, int number)
{
	MemoryContext old;
	Start	   *start;
	ListCell   *lc;

	foreach(lc, starts)
	{
		start = lfirst(lc);
		if (start->relation == relation && start->number == number)
			return start;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	start = palloc0(sizeof(Start));
	start->relation = relation;
	start->number = number;
	starts = lappend(starts, start);
	MemoryContextSwitchTo(old);
	return start;
}

/* Returns after how many milliseconds to try again at the latest. */
static long
start_worker(Oid relation, int number)
{
	Start	   *start = find_start(relation, number);
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(start->at, now, RESTART_WAIT))
		return RESTART_WAIT;
	start->at = now;
	return migrate_slot_start(MyDatabaseId, relation, number)
		? migrate_guc_naptime * 1000L : RESTART_WAIT;
}

/* A worker for each table, then a second for each, and so on; returns the same. */
static long
start_workers(List *tables)
{
	long		nap = migrate_guc_naptime * 1000L;
	bool		more = true;

	migrate_slot_keep_to_limit();
	for (int number = 0; more; number++)
	{
		ListCell   *lc;

		more = false;
		foreach(lc, tables)
		{
			Work	   *work = lfirst(lc);

			if (number >= work->workers)
				continue;
			nap = Min(nap, start_worker(work->relation, number));
			more = true;
		}
	}
	return nap;
}

void
migrate_worker_database_main(Datum argument)
{
	WorkerSlot *slot = migrate_slot_attach(argument);
	MemoryContext context;

	migrate_session_begin(slot->database, "migrate database worker",
						  SignalHandlerForShutdownRequest);
	context = AllocSetContextCreate(TopMemoryContext, "migrate database worker",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	while (migrate_session_goes_on())
	{
		List	   *tables = find_work();
		long		nap;

		if (tables == NIL && migrate_slot_count_tables(MyDatabaseId) == 0)
		{
			if (migrate_slot_leave(slot))
				break;
			continue;
		}
		nap = start_workers(tables);
		migrate_slot_settle(slot);
		pgstat_report_activity(STATE_IDLE, NULL);
		migrate_session_sleep(nap);
		MemoryContextReset(context);
	}
	proc_exit(0);
}
