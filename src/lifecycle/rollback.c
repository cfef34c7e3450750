/*
 * lifecycle/rollback.c
 *		From two forms back to the old one.
 *
 * The old form is whole: every write kept it, by up from it or by down to it,
 * and stale rows never left it. So to go back is to drop the new columns, the
 * proof and (with the last live migration) the trigger, in one transaction
 * under AccessExclusiveLock, got and held as in contract.
 *
 * What a new-form write put into a column that no down reads would be lost, and
 * what up rewrote in place is lost already (rows keep the converted value):
 * then the rollback is refused with the number of such rows, unless told to
 * discard them. The rows are counted twice, first without a lock that blocks
 * anyone, so that most refusals disturb nobody, then under the strong lock, so
 * that none is missed. The second count holds the lock for as long as it takes
 * to read the table; it is made only for migrations that have such columns.
 *
 * The migration's version is taken from it, and the table's newest version does
 * not go back: rows that were written meanwhile keep a number that means the old
 * form to all who look, and if the migration is expanded again it gets a new
 * version, below which all of them are stale.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "guard/dependent_objects.h"
#include "guard/foreign_key_guard.h"
#include "lifecycle/drop_form.h"
#include "lifecycle/index.h"
#include "lifecycle/lock.h"
#include "lifecycle/reference.h"
#include "lifecycle/rollback.h"

static char *
join(List *strings, const char *separator, const char *quote)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, strings)
		appendStringInfo(&buf, "%s%s%s%s", buf.len > 0 ? separator : "",
						 quote, (char *) lfirst(lc), quote);
	return buf.data;
}

static List *
added_names(const Migration *migration)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, migration->added)
		names = lappend(names, ((AddedColumn *) lfirst(lc))->name);
	return names;
}

/* ---- may it be rolled back? ---- */

/* False where there is nothing to do. */
static bool
check_state(const Migration *migration)
{
	if (migrate_migration_is_live(migration))
		return true;
	if (migration->state != MIGRATION_ROLLED_BACK)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migration \"%s\" cannot be rolled back", migration->name),
				 errdetail("It is %s.", migrate_migration_state_name(migration->state)),
				 migration->state == MIGRATION_DEFINED ?
				 errhint("Nothing was changed yet; to take the definition away: SELECT migrate.forget(%s)",
						 quote_literal_cstr(migration->name)) :
				 errhint("Its old form is gone; only a new migration can bring it back.")));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("migration \"%s\" is already rolled back, skipping", migration->name)));
	return false;
}

/*
 * Live migrations that came to depend on it, or use, without saying so, what it
 * adds or, being younger, what it rewrites in place.
 */
#define DEPENDENTS \
	" FROM migrate.migration m, migrate.migration o" \
	" WHERE m.name = $1 AND o.state IN ('expanded', 'complete') AND o.name <> $1" \
	" AND ($1 = ANY (o.depends_on) OR o.relation = $2 AND o.version > m.version AND EXISTS (" \
	"  SELECT 1 FROM (SELECT c.name FROM migrate.added_column c WHERE c.migration = $1" \
	"   UNION SELECT u.target FROM migrate.assignment u" \
	"    WHERE u.migration = $1 AND u.direction = 'u') form WHERE" \
	"   form.name = ANY (o.inputs || o.remove) OR EXISTS (" \
	"    SELECT 1 FROM migrate.assignment a WHERE a.migration = o.name AND a.target = form.name)))"

static void
check_dependents(const Migration *migration)
{
	char	   *names;
	char	   *calls;

	names = migrate_store_fetch("SELECT string_agg(format('\"%s\" (%s)', o.name, o.state),"
								" ', ' ORDER BY o.version DESC)" DEPENDENTS,
								STORE_ARGS(store_text(migration->name),
										   store_relation(migration->relid)));
	if (names == NULL)
		return;
	calls = migrate_store_fetch("SELECT string_agg(format('SELECT migrate.rollback(%L)', o.name),"
								" '; ' ORDER BY o.version DESC)" DEPENDENTS,
								STORE_ARGS(store_text(migration->name),
										   store_relation(migration->relid)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("migration \"%s\" cannot be rolled back", migration->name),
			 errdetail("Live migrations depend on it: %s.", names),
			 errhint("Roll them back first: %s", calls)));
}

static void
check_objects(const Migration *migration)
{
	List	   *objects = migrate_objects_using(migration->relid, added_names(migration),
											false, NULL);

	List	   *words = NIL;
	List	   *remedies = NIL;
	ListCell   *lc;

	if (objects == NIL)
		return;
	foreach(lc, objects)
	{
		DependentObject *object = lfirst(lc);

		words = lappend(words, object->words);
		remedies = lappend(remedies, object->remedy);
	}
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("migration \"%s\" cannot be rolled back", migration->name),
			 errdetail("Its new columns are in use by: %s.", join(words, ", ", "")),
			 errhint("Change them to use the old columns, or: %s", join(remedies, "; ", ""))));
}

static char *
describe_loss(const RollbackLoss *loss)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (loss->rewritten != NIL)
		appendStringInfo(&buf, "What was in columns that \"up\" rewrites in place was overwritten: %s.",
						 join(loss->rewritten, ", ", "\""));
	if (loss->unread != NIL)
		appendStringInfo(&buf, "%sWhat was written to new columns that no \"down\" reads is stored nowhere else: %s.",
						 buf.len > 0 ? " " : "", join(loss->unread, ", ", "\""));
	return buf.data;
}

static void
check_loss(const Migration *migration)
{
	RollbackLoss loss = migrate_rollback_loss(migration);

	if (loss.rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rolling back migration \"%s\" would lose data in " INT64_FORMAT " %s",
						migration->name, loss.rows, loss.rows == 1 ? "row" : "rows"),
				 errdetail_internal("%s", describe_loss(&loss)),
				 errhint("To give it up: SELECT migrate.rollback(%s, discard => true)",
						 quote_literal_cstr(migration->name))));
}

static void
check_all(const Migration *migration, bool discard)
{
	check_dependents(migration);
	check_objects(migration);
	if (!discard)
		check_loss(migration);
}

/* ---- rolling back ---- */

static void
forget_expansion(const Migration *migration)
{
	migrate_store_execute("UPDATE migrate.migration SET version = NULL, expanded_at = NULL,"
						  " completed_at = NULL, completed_xid = NULL, deprecated_at = NULL,"
						  " needed_from = 0, proof = NULL, proof_due = NULL"
						  " WHERE name = $1",
						  STORE_ARGS(store_text(migration->name)));
	migrate_store_execute("UPDATE migrate.assignment SET expression = NULL WHERE migration = $1",
						  STORE_ARGS(store_text(migration->name)));
	migrate_store_execute("DELETE FROM migrate.failure WHERE migration = $1",
						  STORE_ARGS(store_text(migration->name)));
}

/* With the new form its foreign keys go, and with these triggers of the tables referred to. */
static void
lock_tables(const Migration *migration)
{
	List	   *locks = migrate_lock_add(NIL, migration->relid, AccessExclusiveLock);

	migrate_lock_tables(migrate_reference_locks(migration, locks),
						psprintf("roll back migration \"%s\"", migration->name));
}

void
migrate_lifecycle_rollback(const char *name, bool discard)
{
	Migration  *migration = migrate_migration_load(name, true, false);

	migrate_migration_check_owner(migration->relid);
	migrate_migration_check_preloaded();
	if (!check_state(migration))
		return;
	check_all(migration, discard);
	migrate_index_stop_builder(migration->relid);
	lock_tables(migration);
	migrate_foreign_key_guard_check_rollback(migration->relid, migration->name);
	check_all(migration, discard);

	migrate_migration_move(migration, MIGRATION_ROLLED_BACK, "rolled back",
						   psprintf("row version was %d%s", migration->version,
									discard ? "; new values discarded" : ""));
	forget_expansion(migration);
	migrate_lifecycle_drop_form(migration, added_names(migration));
}
