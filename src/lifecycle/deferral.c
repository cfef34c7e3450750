/*
 * lifecycle/deferral.c
 *		The time in which writes may be deferred, and its end.
 *
 * A migration with on_error => 'defer' lets rows be stored in the form before it,
 * as long as it is not about to be complete. So its constraint cannot hold new
 * rows to its version yet, nor can those of migrations that were expanded after
 * it: a deferred row is without them, too. Until then each of these has
 *
 *		CHECK (row_version >= the oldest version that is supported)
 *
 * under the same name, so that a row whose triggers were missing (with a planner's
 * marker, or "unsaid") is refused as ever; and the condition that is to come,
 * which expand has computed, waits in migration.proof_due.
 *
 * The end. When the backfill has left nothing behind, no failure is recorded,
 * and declared indexes stand, the true constraints take the others' place, NOT
 * VALID, for all migrations of the table in one catalog change under
 * AccessExclusiveLock. Writers record what they defer in their own transaction
 * (write/deferred.c), and under that lock none of them is at work: so whether a
 * deferred row is left is known exactly, and is looked at once more. From
 * that commit on a write for which up fails is refused, and what follows is as
 * for any migration. The new form's own constraints come into force with it
 * (constraint_finish.c), so that a client of the old form has one moment from
 * which on more is asked of it, not two.
 *
 * Locks: the migrations' rows, not waited for, so that whoever moves a migration
 * may have its row and wait for the table; AccessExclusiveLock (lifecycle/lock.c),
 * which the caller has already where constraints come into force.
 * A crash leaves things as they were.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "backfill/progress.h"
#include "catalog/failure.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/conversion.h"
#include "lifecycle/deferral.h"
#include "lifecycle/lock.h"
#include "migrate.h"

/* ---- the triggers ---- */

static void
drop_trigger(Oid root, const char *table, const char *name)
{
	migrate_store_ddl(root, psprintf("DROP TRIGGER IF EXISTS %s ON %s",
									 quote_identifier(name), table));
}

/* The guard holds over triggers and constraints, and would be in our own way. */
static int
begin_change(void)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("migrate.guard", "off", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

static void
end_change(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}

static void
drop_triggers(Oid root)
{
	char	   *table = migrate_store_relation_sql(root);
	int			nest_level;

	if (!OidIsValid(get_trigger_oid(root, MIGRATE_DEFER_TRIGGER_NAME, true)) &&
		!OidIsValid(get_trigger_oid(root, MIGRATE_MEND_TRIGGER_NAME, true)))
		return;
	nest_level = begin_change();
	drop_trigger(root, table, MIGRATE_DEFER_TRIGGER_NAME);
	drop_trigger(root, table, MIGRATE_MEND_TRIGGER_NAME);
	end_change(nest_level);
}

static void
create_trigger(Oid root, const char *name, const char *events, const char *condition,
			   const char *function)
{
	char	   *table = migrate_store_relation_sql(root);

	migrate_store_ddl(root, psprintf("CREATE TRIGGER %s AFTER %s ON %s FOR EACH ROW WHEN (%s)"
									 " EXECUTE FUNCTION %s.%s()", quote_identifier(name), events,
									 table, condition, MIGRATE_SCHEMA, function));
	migrate_store_ddl(root, psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s",
									 table, quote_identifier(name)));
}

/* ---- its begin ---- */

static bool
any_due(Oid root, bool that_defers)
{
	ListCell   *lc;

	foreach(lc, migrate_migration_load_live(root))
	{
		const Migration *live = lfirst(lc);

		if (live->proof_due != NULL && (live->defers || !that_defers))
			return true;
	}
	return false;
}

bool
migrate_deferral_concerns(const Migration *migration)
{
	return migration->defers || any_due(migration->relid, true);
}

/* Those that stand speak of older versions only: a deferred row may be newer than that. */
void
migrate_deferral_begin(const Migration *migration, const char *version_column, int32 version)
{
	const char *column = quote_identifier(version_column);

	if (!migration->defers)
		return;
	drop_triggers(migration->relid);
	create_trigger(migration->relid, MIGRATE_DEFER_TRIGGER_NAME, "INSERT OR UPDATE",
				   psprintf("NEW.%s < %d", column, version), "defer_trigger");
	create_trigger(migration->relid, MIGRATE_MEND_TRIGGER_NAME, "UPDATE OR DELETE",
				   psprintf("OLD.%s < %d", column, version), "mend_trigger");
}

void
migrate_deferral_forget(Oid root)
{
	if (!any_due(root, true))
		drop_triggers(root);
}

/* ---- its end ---- */

bool
migrate_deferral_is_held_up(Oid root)
{
	return any_due(root, true) && migrate_failure_any(root);
}

static char *
proof_name(const Migration *migration)
{
	return migrate_migration_proof_name(migrate_migration_version_column(migration->relid),
										migration->version);
}

static void
put_proofs(Oid root, List *due)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, due)
	{
		const Migration *migration = lfirst(lc);
		char	   *name = pstrdup(quote_identifier(proof_name(migration)));

		appendStringInfo(&sql, "%s DROP CONSTRAINT IF EXISTS %s,"
						 " ADD CONSTRAINT %s CHECK (%s) NOT VALID",
						 sql.len > 0 ? "," : "", name, name, migration->proof_due);
	}
	migrate_store_ddl(root, psprintf("ALTER TABLE %s%s", migrate_store_relation_sql(root), sql.data));
}

static void
record_end(List *due)
{
	ListCell   *lc;

	foreach(lc, due)
	{
		const Migration *migration = lfirst(lc);

		migrate_store_execute("UPDATE migrate.migration m SET proof_due = NULL, proof ="
							  " (SELECT pg_get_expr(c.conbin, c.conrelid) FROM pg_constraint c"
							  "  WHERE $3 AND c.conrelid = m.relation"
							  "  AND c.conname = $2 AND c.contype = 'c')"
							  " WHERE name = $1",
							  STORE_ARGS(store_text(migration->name),
										 store_name(proof_name(migration)),
										 store_bool(migration->has_needed)));
		if (migration->defers)
			migrate_migration_record(migration->name, "deferring ended", NULL);
	}
}

static List *
load_due(Oid root)
{
	List	   *due = NIL;
	ListCell   *lc;

	foreach(lc, migrate_migration_load_live(root))
		if (((Migration *) lfirst(lc))->proof_due != NULL)
			due = lappend(due, lfirst(lc));
	return due;
}

/* One attempt: whoever finds it blocked comes again, and holds nothing meanwhile. */
static void
lock_table(Oid root)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("migrate.lock_attempts", "1", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	migrate_lock_table(root, "end the deferring of writes");
	AtEOXact_GUC(false, nest_level);
}

typedef struct Ending
{
	Oid			root;
	DeferralEnd result;
} Ending;

static void
end(void *arg)
{
	Ending	   *ending = arg;
	Oid			root = ending->root;
	List	   *due;
	int			nest_level;

	migrate_store_execute("SELECT 1 FROM migrate.migration WHERE relation = $1"
						  " AND proof_due IS NOT NULL FOR UPDATE NOWAIT",
						  STORE_ARGS(store_relation(root)));
	lock_table(root);
	due = load_due(root);
	if (migrate_failure_any(root))
	{
		ending->result = DEFERRAL_HELD_UP;
		return;
	}
	nest_level = begin_change();
	put_proofs(root, due);
	end_change(nest_level);
	drop_triggers(root);
	record_end(due);
	migrate_conversion_invalidate(root);
	CommandCounterIncrement();
	ending->result = DEFERRAL_OVER;
}

DeferralEnd
migrate_deferral_end(Oid root)
{
	Ending		ending = {root, DEFERRAL_OVER};
	ErrorData  *error;

	if (!any_due(root, false))
		return DEFERRAL_OVER;
	error = migrate_try(end, &ending);
	if (error == NULL)
		return ending.result;
	if (!migrate_try_is_about_others(error))
		ReThrowError(error);
	FreeErrorData(error);
	return DEFERRAL_BLOCKED;
}
