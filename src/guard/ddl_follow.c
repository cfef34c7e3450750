/*
 * guard/ddl_follow.c
 *		Keeping our catalog in step with DDL on users' tables.
 *
 * A dropped table takes what we know of it along, but for the history. A
 * renamed column is renamed in the definitions that are not live (live ones
 * hold their columns to their names), and where others refer to it. Where all
 * triggers of a table are enabled or disabled at once, as a restore of data does,
 * ours are enabled fully again. All this is part of the command's own transaction,
 * under its lock on the table, so that nobody writes in between.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/ddl_follow.h"
#include "migrate.h"

/* Are our tables all there? Not while the extension is made or dropped. */
static bool
catalog_is_whole(void)
{
	static const char *const tables[] = {
		"managed", "migration", "added_column", "added_constraint", "added_reference",
		"assignment", "assignment_tree", "backfill", "published_view",
		"declared_index", "failure", "event", "recorded",
	};

	for (int i = 0; i < lengthof(tables); i++)
		if (!OidIsValid(migrate_store_table(tables[i])))
			return false;
	return OidIsValid(migrate_store_extension_owner());
}

static bool
may_be_known(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return (relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE) &&
		get_rel_persistence(relid) != RELPERSISTENCE_TEMP &&
		get_rel_namespace(relid) != get_namespace_oid(MIGRATE_SCHEMA, true) &&
		catalog_is_whole();
}

/* A table is being dropped: forget all but the history of its migrations. */
void
migrate_ddl_follow_drop_table(Oid relid)
{
	if (!may_be_known(relid))
		return;
	migrate_store_execute("WITH gone AS (DELETE FROM migrate.migration"
						  "  WHERE relation = $1 RETURNING name),"
						  " managed AS (DELETE FROM migrate.managed WHERE relation = $1),"
						  " recorded AS (DELETE FROM migrate.recorded WHERE relation = $1),"
						  " backfill AS (DELETE FROM migrate.backfill"
						  "  WHERE relation = $1 OR root = $1),"
						  " failure AS (DELETE FROM migrate.failure WHERE relation = $1),"
						  " views AS (DELETE FROM migrate.published_view WHERE relation = $1),"
						  " uses AS (DELETE FROM migrate.column_use WHERE relation = $1),"
						  " indexes AS (DELETE FROM migrate.declared_index WHERE relation = $1),"
						  " footprint AS (DELETE FROM migrate.footprint"
						  "  USING gone WHERE migration = gone.name),"
						  " added AS (DELETE FROM migrate.added_column"
						  "  USING gone WHERE migration = gone.name),"
						  " constraints AS (DELETE FROM migrate.added_constraint"
						  "  USING gone WHERE migration = gone.name),"
						  " refs AS (DELETE FROM migrate.added_reference"
						  "  USING gone WHERE migration = gone.name),"
						  " assignment AS (DELETE FROM migrate.assignment"
						  "  USING gone WHERE migration = gone.name),"
						  " tree AS (DELETE FROM migrate.assignment_tree"
						  "  USING gone WHERE migration = gone.name)"
						  " INSERT INTO migrate.event (migration, event, role, detail)"
						  " SELECT name, 'dropped', $2, format('with table %I', $3::text) FROM gone",
						  STORE_ARGS(store_relation(relid),
									 store_name(GetUserNameFromId(GetUserId(), false)),
									 store_text(get_rel_name(relid))));
}

/*
 * A column is being renamed. Definitions that are not live go on working under
 * its new name: their trees know their inputs by position only.
 */
static void
rename_in_definitions(Oid relid, const char *from, const char *to)
{
	static const char *const targets[] = {"assignment", "assignment_tree"};

	for (int i = 0; i < lengthof(targets); i++)
		migrate_store_execute(psprintf("UPDATE migrate.%s a SET target = $3"
									   " FROM migrate.migration m"
									   " WHERE m.relation = $1 AND a.migration = m.name"
									   " AND m.state IN ('defined', 'rolled back')"
									   " AND a.target = $2", targets[i]),
							  STORE_ARGS(store_relation(relid), store_name(from), store_name(to)));
	migrate_store_execute("UPDATE migrate.migration"
						  " SET inputs = array_replace(inputs, $2, $3),"
						  "  remove = array_replace(remove, $2, $3)"
						  " WHERE relation = $1 AND state IN ('defined', 'rolled back')"
						  " AND $2 = ANY (inputs || remove)",
						  STORE_ARGS(store_relation(relid), store_name(from), store_name(to)));
}

/* It may be one that a new column of another table refers to. */
static void
rename_in_references(Oid relid, const char *from, const char *to)
{
	migrate_store_execute("UPDATE migrate.added_reference SET referenced_column = $3"
						  " WHERE referenced = $1 AND referenced_column = $2",
						  STORE_ARGS(store_relation(relid), store_name(from), store_name(to)));
}

/*
 * A table is being altered, and maybe given to another owner. As that one the
 * expressions are to run from then on, on partitions as well, of which nothing
 * has been altered.
 */
void
migrate_ddl_follow_alter_table(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE && migrate_conversion_any())
		migrate_conversion_invalidate(relid);
}

/*
 * What migrations have to do with it, also those that are done with, goes by its
 * new name: those yet to come are compared with it. Not so where a contract gives a
 * new column the name of the one that it drops: before, those were two.
 */
static void
rename_in_footprints(Oid relid, const char *from, const char *to)
{
	migrate_store_execute("UPDATE migrate.footprint f SET column_name = $3"
						  " FROM migrate.migration m WHERE m.relation = $1"
						  " AND f.migration = m.name AND f.column_name = $2"
						  " AND NOT EXISTS (SELECT FROM migrate.footprint o"
						  "  WHERE o.migration = f.migration AND o.use = f.use"
						  "  AND o.column_name = $3)"
						  " AND NOT EXISTS (SELECT FROM migrate.added_column c"
						  "  JOIN migrate.migration l ON l.name = c.migration"
						  "  WHERE l.relation = $1 AND c.name = $2 AND c.rename_to = $3"
						  "  AND l.state IN ('expanded', 'complete'))",
						  STORE_ARGS(store_relation(relid), store_name(from), store_name(to)));
}

void
migrate_ddl_follow_alter_column(Oid relid, AttrNumber attnum)
{
	HeapTuple	old = migrate_catalog_column(relid, attnum, NULL);
	HeapTuple	new = migrate_catalog_column(relid, attnum, SnapshotSelf);
	const char *from;
	const char *to;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	from = NameStr(((Form_pg_attribute) GETSTRUCT(old))->attname);
	to = NameStr(((Form_pg_attribute) GETSTRUCT(new))->attname);
	if (strcmp(from, to) == 0 || ((Form_pg_attribute) GETSTRUCT(new))->attisdropped ||
		!may_be_known(relid))
		return;
	rename_in_definitions(relid, from, to);
	rename_in_references(relid, from, to);
	rename_in_footprints(relid, from, to);
}

static void
enable_fully(Oid relid, const char *trigger)
{
	if (OidIsValid(get_trigger_oid(relid, trigger, true)))
		migrate_store_ddl(relid, psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s",
										  migrate_store_relation_sql(relid),
										  quote_identifier(trigger)));
}

void
migrate_ddl_follow_switch_triggers(const RangeVar *table)
{
	static const char *const ours[] = {MIGRATE_TRIGGER_NAME, MIGRATE_LAST_TRIGGER_NAME,
	MIGRATE_DEFER_TRIGGER_NAME, MIGRATE_MEND_TRIGGER_NAME};
	Oid			relid = RangeVarGetRelid(table, NoLock, true);

	CommandCounterIncrement();
	if (!OidIsValid(relid) || migrate_conversion_get(relid) == NULL)
		return;
	for (int i = 0; i < lengthof(ours); i++)
		enable_fully(relid, ours[i]);
}
