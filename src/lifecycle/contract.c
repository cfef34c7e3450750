/*
 * lifecycle/contract.c
 *		From two forms to the new one.
 *
 * The gate (guard/contract_gate.c) is asked twice: first without any lock, for
 * as long as the caller is willing to wait for what passes by itself, so that
 * what will be refused disturbs nobody; then under AccessExclusiveLock on the
 * table and its partitions, and what holds then holds until the commit:
 *
 * - A writer in the old form that was at work when we first asked has ended
 *   before we got the lock. It went through the trigger, so its rows are
 *   converted; the proof constraint would have refused any other. One that
 *   starts later waits for our commit and finds the column gone: names are
 *   looked up under the table's lock, and cached plans are checked under it.
 * - A snapshot older than the completion was found, or its transaction has
 *   ended (see guard/old_snapshots.c for why none can come up in between). A
 *   reader with a younger one reads the same rows with and without the CASE.
 * - A prepared transaction that wrote to the table holds a lock on it, so we
 *   cannot have ours while there is one.
 * - A view, an index or the like on the old columns needs a lock on the table to
 *   be made. Should one escape the gate, DROP COLUMN ... RESTRICT refuses it.
 * - Another contract, rollback or completion of this migration waits for its
 *   catalog row, which is locked before the table, as expand does it.
 *
 * The order among migrations of one table is free: one that another still needs
 * is refused as "dependents", and a newer one may go first. Rows are then at or
 * above its version, and what is older of the live ones is complete or is not,
 * as before; only rows that come with an explicit older version are refused
 * from then on (managed.floor). Not so where not all rows needed it: those that did
 * not are below its version, and in its new form (lifecycle/proof.c).
 *
 * Nothing is changed before all checks hold, and all changes are one
 * transaction: an error or a crash leaves the migration complete, as it was.
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

/* New columns that take the place of old ones may now have their names. */
static void
rename_new_columns(const Migration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->added)
	{
		AddedColumn *column = lfirst(lc);

		if (column->rename_to == NULL)
			continue;
		migrate_store_ddl(migration->relid,
						  psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s",
								   migrate_store_relation_sql(migration->relid),
								   quote_identifier(column->name),
								   quote_identifier(column->rename_to)));
		migrate_store_execute("UPDATE migrate.added_column SET name = rename_to, rename_to = NULL"
							  " WHERE migration = $1 AND name = $2",
							  STORE_ARGS(store_text(migration->name), store_name(column->name)));
	}
}

static void
contract(Migration *migration, List *skip)
{
	List	   *columns = migrate_gate_columns_to_drop(migration);

	migrate_migration_move(migration, MIGRATION_CONTRACTED, "contracted",
						   describe(migration, columns, skip));
	if (!migration->has_needed)
		migrate_store_execute("UPDATE migrate.managed SET floor = greatest(floor, $2)"
							  " WHERE relation = $1",
							  STORE_ARGS(store_relation(migration->relid),
										 store_int(migration->version)));
	migrate_lifecycle_drop_form(migration, columns);
	rename_new_columns(migration);
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
