/*
 * lifecycle/contract.c
 *		From two forms to the new one.
 *
 * Fence, wait, verify, drop. The fence stands since expand: the write trigger and
 * the proof's constraint let no row be stored in the old form alone. The gate
 * (guard/contract_gate.c) is asked twice: first without any lock, for as long as
 * the caller is willing to wait for what passes by itself, so that what will be
 * refused disturbs nobody; then with the migration's catalog row locked, and after
 * it AccessExclusiveLock on the table and its partitions. What holds then
 * holds until the commit:
 *
 * - Writers. Who was at work when we first asked has ended before we got the lock,
 *   prepared transactions too: they keep their locks. What they stored went through the
 *   trigger, or was refused by the constraint. Who comes later waits for our commit
 *   and finds the column gone: a statement looks up names when it has the table's
 *   lock, and a cached plan is checked when its locks have been taken. Rows that
 *   fail cannot come any more: the validated constraint refuses them.
 * - Readers. What DROP COLUMN does is not undone for old snapshots, and with the
 *   migration the upgrading of reads goes; so no snapshot may be left that sees a
 *   stale row. Completion has waited for those of this server, but for the statements
 *   of sessions in migrate.wait(); the check "snapshots" asks for all that are older
 *   than the completion, and none can come up (guard/old_snapshots.c). A
 *   REPEATABLE READ transaction with a younger one, which first touches the table after
 *   our commit, reads the new columns as stored, which is what they read as before;
 *   that the old ones are gone from one statement to the next is as with any
 *   DROP COLUMN.
 * - What uses the column. To make a view, an index, a constraint, statistics, a policy,
 *   a trigger, a function with a parsed body, a foreign key or a publication of
 *   the table takes a lock on it that is kept to the commit, AccessShareLock at least:
 *   so what the second look does not find there is not. That look matters: for a view DROP
 *   COLUMN ... RESTRICT would raise an error of its own, but an index, a CHECK or
 *   statistics go without a word. Other migrations of the table are expanded
 *   under its lock; one of another table that reads this one in a sub-query has locked
 *   it; one that is only defined finds the column gone when it is expanded.
 * - Releases. Who creates one that lacks the migration while we commit has done so
 *   after it, so to speak: what is contracted is not asked for any more. Who pins a
 *   session to one that is being retired finds it retired when he needs it.
 * - Another contract, rollback or completion of this migration waits for its
 *   catalog row, and everybody takes that before the table.
 *
 * What is read of the extension's tables is what is committed by now, also when a
 * REPEATABLE READ transaction calls us (catalog/store.c).
 *
 * Standbys replay the lock and the change as they do for any DDL: queries that
 * hold the table are waited for or cancelled. Logical decoding reads older WAL by the
 * catalog of its time; slots that have yet to read rows from before the completion
 * hold us up all the same, for those rows are what a consumer would have to upgrade.
 *
 * The order among migrations of one table is free: one that another still needs
 * is refused as "dependents", and a newer one may go first. Rows are then at or
 * above its version, and what is older of the live ones is complete or is not,
 * as before; only rows that come with an explicit older version are refused
 * from then on (managed.floor). Not so where not all rows needed it: those that did
 * not are below its version, and in its new form (lifecycle/proof.c).
 *
 * Nothing is changed before all checks hold, and all changes are one
 * transaction, of the catalog only: an error or a crash leaves the migration
 * complete, as it was. test/tap/071_crash_at_each_step.pl tries each of its steps,
 * 072_contract_races.pl has all of the above come in between.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "catalog/store.h"
#include "guard/contract_gate.h"
#include "guc.h"
#include "lifecycle/contract.h"
#include "lifecycle/drop_form.h"
#include "lifecycle/index.h"
#include "lifecycle/lock.h"
#include "lifecycle/take_place.h"

#define POLL_INTERVAL_MS	200

static const char *const skippable[] = {"window", "usage"};

static void
check_skip(List *skip)
{
	ListCell   *lc;

	foreach(lc, skip)
	{
		bool		known = false;

		for (int i = 0; i < lengthof(skippable); i++)
			known = known || strcmp(lfirst(lc), skippable[i]) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("check \"%s\" cannot be skipped", (char *) lfirst(lc)),
					 errdetail("Only \"%s\" and \"%s\" can.", skippable[0], skippable[1])));
	}
}

static bool
is_contracted(const Migration *migration)
{
	if (migration->state != MIGRATION_CONTRACTED)
		return false;
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("migration \"%s\" is already contracted, skipping", migration->name)));
	return true;
}

/* ---- asking the gate ---- */

static void
refuse(const Migration *migration, List *findings)
{
	StringInfoData details;
	StringInfoData hints;
	ListCell   *lc;

	initStringInfo(&details);
	initStringInfo(&hints);
	foreach(lc, findings)
	{
		GateFinding *finding = lfirst(lc);

		if (finding->ok)
			continue;
		appendStringInfo(&details, "%s%s: %s", details.len > 0 ? "\n" : "",
						 finding->check, finding->detail);
		appendStringInfo(&hints, "%s%s: %s", hints.len > 0 ? "\n" : "",
						 finding->check, finding->hint);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("migration \"%s\" cannot be contracted yet", migration->name),
			 errdetail_internal("%s", details.data),
			 errhint("%s", hints.data)));
}

/* True if all checks hold, false if what does not may pass by itself; else an error. */
static bool
gate_is_open(const Migration *migration, List *skip, bool may_wait)
{
	List	   *findings = migrate_gate_run(migration, skip, false);
	bool		open = true;
	bool		hopeless = !may_wait;
	ListCell   *lc;

	foreach(lc, findings)
	{
		GateFinding *finding = lfirst(lc);

		open = open && finding->ok;
		hopeless = hopeless || (!finding->ok && !finding->may_pass);
	}
	if (!open && hopeless)
		refuse(migration, findings);
	return open;
}

static void
nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 POLL_INTERVAL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Wait until the gate opens, holding no lock on the table or the migration. */
static void
wait_for_gate(const Migration *migration, List *skip, TimestampTz deadline)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "migrate contract",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	while (!gate_is_open(migration, skip, GetCurrentTimestamp() < deadline))
	{
		nap();
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Lock the table, with as many attempts as the deadline leaves room for. */
static void
lock_table(const Migration *migration, TimestampTz deadline)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
	int			attempts = Max(migrate_guc_lock_attempts, left / migrate_guc_lock_timeout);
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("migrate.lock_attempts", psprintf("%d", attempts),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	migrate_lock_table(migration->relid,
					   psprintf("contract migration \"%s\"", migration->name));
	AtEOXact_GUC(false, nestlevel);
}

/* ---- contracting ---- */

static char *
describe(const Migration *migration, List *dropped, List *skip)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, dropped)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "dropped ",
						 quote_identifier(lfirst(lc)));
	foreach(lc, migration->added)
	{
		AddedColumn *column = lfirst(lc);

		if (column->rename_to != NULL)
			appendStringInfo(&buf, "%srenamed %s to %s", buf.len > 0 ? "; " : "",
							 quote_identifier(column->name),
							 quote_identifier(column->rename_to));
	}
	foreach(lc, skip)
		appendStringInfo(&buf, "%sskipped the check \"%s\"", buf.len > 0 ? "; " : "",
						 (char *) lfirst(lc));
	return buf.len > 0 ? buf.data : NULL;
}

static void
contract(Migration *migration, List *skip)
{
	List	   *columns = migrate_gate_columns_to_drop(migration);
	Heritage   *heritage;

	migrate_migration_move(migration, MIGRATION_CONTRACTED, "contracted",
						   describe(migration, columns, skip));
	if (!migration->has_needed)
		migrate_store_execute("UPDATE migrate.managed SET floor = greatest(floor, $2)"
							  " WHERE relation = $1",
							  STORE_ARGS(store_relation(migration->relid),
										 store_int(migration->version)));
	heritage = migrate_take_place_begin(migration, columns);
	migrate_lifecycle_drop_form(migration, columns);
	migrate_take_place_end(migration, heritage);
}

void
migrate_lifecycle_contract(const char *name, TimeOffset wait, List *skip)
{
	TimestampTz deadline = GetCurrentTimestamp() + wait;
	Migration  *migration = migrate_migration_load(name, false, false);

	PreventCommandDuringRecovery("migrate.contract()");
	migrate_migration_check_owner(migration->relid);
	migrate_migration_check_preloaded();
	check_skip(skip);
	if (is_contracted(migration))
		return;
	wait_for_gate(migration, skip, deadline);

	migration = migrate_migration_load(name, true, false);
	if (is_contracted(migration))
		return;
	migrate_index_stop_builder(migration->relid);
	lock_table(migration, deadline);
	(void) gate_is_open(migration, skip, false);
	contract(migration, skip);
}
