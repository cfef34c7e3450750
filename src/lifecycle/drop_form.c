/*
 * lifecycle/drop_form.c
 *		Taking one of a migration's two forms away.
 *
 * The old form at contract, the new one at rollback; the rest is the same: the
 * proof goes, and with the last live migration of the table the write triggers,
 * so that a write costs what it did before. The row version column stays, with
 * the numbers that its rows have. New rows then get the newest version as a
 * plain default.
 *
 * All of it changes the catalog only, in the caller's transaction. The guard
 * watches over it as over any DDL: what other live migrations need cannot be
 * dropped here by mistake.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_constraint.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/expression_dependencies.h"
#include "lifecycle/constraint.h"
#include "lifecycle/deferral.h"
#include "lifecycle/deprecate.h"
#include "lifecycle/drop_form.h"
#include "lifecycle/index.h"
#include "lifecycle/reference.h"
#include "lifecycle/statistics.h"
#include "migrate.h"

/* Those that are generated, or else those that are not. */
static void
append_drops(StringInfo sql, Oid relid, List *columns, bool generated)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		AttrNumber	attno = get_attnum(relid, lfirst(lc));

		if (generated == (attno != InvalidAttrNumber && get_attgenerated(relid, attno) != '\0'))
			appendStringInfo(sql, ", DROP COLUMN IF EXISTS %s RESTRICT",
							 quote_identifier(lfirst(lc)));
	}
}

/*
 * Generated ones first, which may be generated from others. What a superuser dropped while
 * the guard was off is not there any more.
 */
static void
drop_columns(const Migration *migration, const char *version_column, List *columns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s",
					 migrate_store_relation_sql(migration->relid),
					 quote_identifier(migrate_migration_proof_name(version_column,
																   migration->version)));
	append_drops(&sql, migration->relid, columns, true);
	append_drops(&sql, migration->relid, columns, false);
	migrate_store_ddl(migration->relid, sql.data);
}

static void
drop_trigger(Oid relid, const char *table, const char *name)
{
	migrate_store_ddl(relid, psprintf("DROP TRIGGER IF EXISTS %s ON %s",
									  quote_identifier(name), table));
}

/* Where the server does not say which table a row is of, a migration of it tells. */
#define HOLDING \
	"SELECT format('%1$s >= %2$s AND %1$s <= %3$s OR migrate.is_supported(tableoid, %1$s, %4$L)'," \
	"  $2, floor, version, (SELECT name FROM migrate.migration" \
	"   WHERE relation = $1 AND state IN ('contracted', 'rolled back')" \
	"   ORDER BY state = 'contracted' DESC, seq DESC LIMIT 1))" \
	" FROM migrate.managed WHERE relation = $1"

void
migrate_drop_form_hold_to_versions(Oid relid, const char *version_column)
{
	const char *column = quote_identifier(version_column);
	const char *name = migrate_migration_supported_name(version_column);
	char	   *condition;

	condition = migrate_store_fetch(HOLDING, STORE_ARGS(store_relation(relid), store_text(column)));
	migrate_store_ddl(relid,
					  psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s) NOT VALID",
							   migrate_store_relation_sql(relid), quote_identifier(name),
							   condition));
}

/* Found by what it asks: the row version may have been renamed since. */
void
migrate_drop_form_stop_holding(Oid relid)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT DISTINCT c.conname FROM pg_constraint c JOIN pg_depend d"
										 "  ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid"
										 " WHERE c.conrelid = $1 AND c.contype = 'c'"
										 " AND d.refclassid = 'pg_proc'::regclass AND d.refobjid ="
										 "  'migrate.is_supported(oid, integer, text)'::regprocedure",
										 STORE_ARGS(store_relation(relid))))
		migrate_store_ddl(relid, psprintf("ALTER TABLE %s DROP CONSTRAINT %s",
										  migrate_store_relation_sql(relid),
										  quote_identifier(lfirst(lc))));
}

static void
end_care(Oid relid, const char *version_column)
{
	char	   *table = migrate_store_relation_sql(relid);
	char	   *version = migrate_store_fetch("SELECT version FROM migrate.managed WHERE relation = $1",
											  STORE_ARGS(store_relation(relid)));

	drop_trigger(relid, table, MIGRATE_TRIGGER_NAME);
	drop_trigger(relid, table, MIGRATE_LAST_TRIGGER_NAME);
	migrate_store_ddl(relid, psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s",
									  table, quote_identifier(version_column), version));
	migrate_drop_form_hold_to_versions(relid, version_column);
	migrate_store_execute("DELETE FROM migrate.backfill WHERE root = $1",
						  STORE_ARGS(store_relation(relid)));
}

void
migrate_lifecycle_drop_form(const Migration *migration, List *columns)
{
	char	   *version_column = migrate_migration_version_column(migration->relid);

	migrate_index_forget(migration->relid, migration->name);
	migrate_constraint_forget(migration->name);
	migrate_reference_forget(migration);
	migrate_deprecate_forget(migration);
	migrate_conversion_invalidate(migration->relid);
	CommandCounterIncrement();
	drop_columns(migration, version_column, columns);
	migrate_deferral_forget(migration->relid);
	if (migrate_migration_load_live(migration->relid) == NIL)
		end_care(migration->relid, version_column);
	else
		migrate_record_dependencies(migration->relid);
	migrate_conversion_invalidate(migration->relid);
	CommandCounterIncrement();
	migrate_lifecycle_sync_statistics(migration->relid);
}
