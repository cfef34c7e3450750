/*
 * lifecycle/run.c
 *		The backfill in an operator's own session, and what it is told to do.
 *
 * run takes the same steps as a background worker, each in a transaction of
 * its own, with a rest after it as the session's settings want it. It may go
 * on beside workers, and beside sessions that do the same: it takes a part of
 * the table that they leave it (backfill/part.c), or takes turns with them, and
 * a share of what its own settings limit the table to. Where nothing can be
 * done but wait (rows that others hold, snapshots that others hold) it waits
 * for migrate.lock_timeout in all and then returns; what it has done is done,
 * and whoever runs next goes on from there.
 *
 * Table statistics of what it converts reach the statistics system when the
 * CALL ends, as for any procedure that commits: autovacuum learns of it then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "backfill/pause.h"
#include "backfill/progress.h"
#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "guc.h"
#include "lifecycle/advance.h"
#include "lifecycle/index.h"
#include "lifecycle/run.h"
#include "lifecycle/use_flush.h"
#include "shmem.h"

/* ---- which tables ---- */

static bool
is_paused(Oid relid)
{
	char	   *paused = migrate_store_fetch("SELECT paused FROM migrate.managed WHERE relation = $1",
											 STORE_ARGS(store_relation(relid)));

	if (paused == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not managed", get_rel_name(relid)),
				 errdetail("No migration of it was expanded."),
				 errhint("Of a partitioned table, name the table that the migration is of.")));
	return strcmp(paused, "t") == 0;
}

static void
check_table(Oid relid)
{
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	migrate_migration_check_owner(relid);
}

static List *
own_tables(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT m.relation::oid FROM migrate.managed m"
										 " JOIN pg_class c ON c.oid = m.relation"
										 " WHERE NOT m.paused"
										 "  AND pg_has_role($1::oid, c.relowner, 'USAGE')"
										 " ORDER BY m.relation",
										 STORE_ARGS(store_oid(GetUserId()))))
		result = lappend_oid(result, atooid(lfirst(lc)));
	return result;
}

static List *
tables_to_run(Oid relid)
{
	if (!OidIsValid(relid))
		return own_tables();
	check_table(relid);
	if (is_paused(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the backfill of table \"%s\" is paused", get_rel_name(relid)),
				 errhint("Call migrate.resume() first.")));
	return list_make1_oid(relid);
}

/* ---- run ---- */

/* Each batch sees the table as it is by then, whatever the session's default. */
static void
begin_next_transaction(void)
{
	SPI_commit();
	if (XactIsoLevel != XACT_READ_COMMITTED)
		(void) set_config_option("transaction_isolation", "read committed",
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

static void
rest(long milliseconds)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
	long		left;

	CHECK_FOR_INTERRUPTS();
	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Has it waited for long enough, without a row to convert in between? */
static bool
gives_up(const Advance *advance, AdvanceStatus status, long *waited)
{
	if (advance->backfill.converted > 0)
		*waited = 0;
	if (status != ADVANCE_WAITING)
		return false;
	if (*waited < migrate_guc_lock_timeout)
	{
		*waited += advance->backfill.pause;
		return false;
	}
	ereport(NOTICE,
			(errmsg("table \"%s\" waits for %s", get_rel_name(advance->backfill.root),
					advance->backfill.held_by[0] ? advance->backfill.held_by
					: "older snapshots"),
			 errhint("Run it again later.")));
	return true;
}

/* A step, in memory that lasts no longer: there may be very many of them. */
static AdvanceStatus
take_step(Advance *advance, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AdvanceStatus status = migrate_advance_step(advance);

	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	return status;
}

static bool
is_enough(int64 converted, int64 max_rows)
{
	return max_rows > 0 && converted >= max_rows;
}

/*
 * Step after step; returns how many rows were converted. The last batch has its rest
 * like any: calls for a few rows each keep within the limits, too.
 */
static int64
take_steps(Advance *advance, MemoryContext context, int64 max_rows)
{
	AdvanceStatus status;
	int64		converted = 0;
	long		waited = 0;

	for (;;)
	{
		begin_next_transaction();
		advance->backfill.rows_left = max_rows > 0 ? max_rows - converted : 0;
		status = take_step(advance, context);
		converted += advance->backfill.converted;
		if ((status != ADVANCE_WORKED && status != ADVANCE_WAITING) ||
			(status == ADVANCE_WAITING && is_enough(converted, max_rows)) ||
			gives_up(advance, status, &waited))
			break;
		begin_next_transaction();
		rest(advance->backfill.pause);
		if (is_enough(converted, max_rows))
			break;
	}
	begin_next_transaction();
	return converted;
}

/* Returns how many rows were converted. The session lives on after an error. */
static int64
run_table(Oid relid, int64 max_rows)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "migrate step",
												  ALLOCSET_DEFAULT_SIZES);
	Advance		advance;
	volatile int64 converted = 0;

	migrate_advance_init(&advance, relid);
	advance.backfill.takes_turns = true;
	PG_TRY();
	{
		converted = take_steps(&advance, context, max_rows);
	}
	PG_FINALLY();
	{
		migrate_advance_end(&advance);
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return converted;
}

void
migrate_run_tables(Oid relid, int64 max_rows, int64 *converted, int64 *remaining)
{
	List	   *tables;
	ListCell   *lc;

	PreventCommandDuringRecovery("migrate.run()");
	PreventCommandIfReadOnly("migrate.run()");
	migrate_migration_check_preloaded();
	*converted = 0;
	*remaining = 0;
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	migrate_use_flush();
	tables = tables_to_run(relid);
	foreach(lc, tables)
	{
		int64		left;

		if (max_rows == 0 || *converted < max_rows)
			*converted += run_table(lfirst_oid(lc), max_rows > 0 ? max_rows - *converted : 0);
		left = migrate_backfill_remaining(lfirst_oid(lc));
		*remaining = left < 0 || *remaining < 0 ? -1 : *remaining + left;
	}
	SPI_finish();
}

/* ---- pause, resume, retry ---- */

void
migrate_run_set_paused(Oid relid, bool paused)
{
	check_table(relid);
	if (paused)
		migrate_pause_wait(relid);
	if (is_paused(relid) == paused)
		return;
	migrate_store_execute("UPDATE migrate.managed SET paused = $2 WHERE relation = $1",
						  STORE_ARGS(store_relation(relid), store_bool(paused)));
	migrate_conversion_invalidate(relid);
	migrate_shmem_request_work();
}

int64
migrate_run_retry(Oid relid)
{
	char	   *failures;

	check_table(relid);
	(void) is_paused(relid);
	failures = migrate_store_fetch("SELECT count(DISTINCT (f.relation, f.row_key))"
								   "  + (SELECT count(*) FROM migrate.declared_index d"
								   "   WHERE d.relation = $1 AND d.error IS NOT NULL)"
								   " FROM migrate.failure f JOIN migrate.backfill b USING (relation)"
								   " WHERE b.root = $1 AND b.phase = '" PHASE_FAILED "'",
								   STORE_ARGS(store_relation(relid)));
	migrate_progress_retry(relid);
	migrate_index_retry(relid);
	migrate_shmem_request_work();
	return strtoll(failures, NULL, 10);
}
