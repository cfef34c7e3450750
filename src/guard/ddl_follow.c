/*
 * guard/ddl_follow.c
 *		Keeping our catalog in step with DDL on users' tables.
 *
 * A dropped table takes what we know of it along, but for the history. A
 * renamed column is renamed in the definitions that are not live (live ones
 * hold their columns to their names), and where others refer to it; a renamed
 * constraint or index of "add" keeps its new name to the end; a renamed schema goes on
 * publishing its release. Where all
 * triggers of a table are enabled or disabled at once, as a restore of data does,
 * ours are enabled fully again. All this is part of the command's own transaction,
 * under its lock on the table, so that nobody writes in between.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_trigger.h"
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
		"managed", "formerly_managed", "migration", "added_column", "added_constraint", "added_reference",
		"assignment", "assignment_tree", "backfill", "prune", "published_view",
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
						  " formerly AS (DELETE FROM migrate.formerly_managed WHERE relation = $1),"
						  " recorded AS (DELETE FROM migrate.recorded WHERE relation = $1),"
						  " backfill AS (DELETE FROM migrate.backfill"
						  "  WHERE relation = $1 OR root = $1),"
						  " failure AS (DELETE FROM migrate.failure WHERE relation = $1),"
						  " prune AS (DELETE FROM migrate.prune WHERE relation = $1),"
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

/* ---- constraints, indexes and triggers of "add" ---- */

#define OF_LIVE_MIGRATION \
	" FROM migrate.migration m WHERE m.relation = $1 AND m.name = a.migration" \
	" AND m.state IN ('expanded', 'complete') AND a.name = $2"

static void
rename_added(const char *sql, Oid relid, const NameData *from, const NameData *to)
{
	if (strcmp(NameStr(*from), NameStr(*to)) != 0 && migrate_conversion_any() &&
		migrate_conversion_get(relid) != NULL)
		migrate_store_execute(sql, STORE_ARGS(store_relation(relid), store_name(NameStr(*from)),
											  store_name(NameStr(*to))));
}

static void
rename_index(HeapTuple old, HeapTuple new)
{
	Form_pg_class before = (Form_pg_class) GETSTRUCT(old);
	Oid			relid = IndexGetRelation(before->oid, true);

	if (OidIsValid(relid))
		rename_added("UPDATE migrate.declared_index a SET name = $3" OF_LIVE_MIGRATION,
					 relid, &before->relname, &((Form_pg_class) GETSTRUCT(new))->relname);
}

/*
 * A table may have been given to another owner. As that one the expressions are to
 * run from then on, on partitions as well, of which nothing has been altered.
 */
void
migrate_ddl_follow_alter_relation(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	HeapTuple	old;
	HeapTuple	new;

	if (!migrate_conversion_any())
		return;
	if (relkind == RELKIND_PARTITIONED_TABLE)
		migrate_conversion_invalidate(relid);
	if (relkind != RELKIND_INDEX && relkind != RELKIND_PARTITIONED_INDEX)
		return;
	old = migrate_catalog_row(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid, NULL);
	new = migrate_catalog_row(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid,
							  SnapshotSelf);
	if (HeapTupleIsValid(old) && HeapTupleIsValid(new))
		rename_index(old, new);
}

/* A foreign key of "add" may have been made already, in its trigger's place. */
void
migrate_ddl_follow_alter_constraint(Oid oid)
{
	HeapTuple	old = migrate_catalog_row(ConstraintRelationId, ConstraintOidIndexId,
										  Anum_pg_constraint_oid, oid, NULL);
	HeapTuple	new = migrate_catalog_row(ConstraintRelationId, ConstraintOidIndexId,
										  Anum_pg_constraint_oid, oid, SnapshotSelf);
	Form_pg_constraint before;
	Form_pg_constraint after;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	before = (Form_pg_constraint) GETSTRUCT(old);
	after = (Form_pg_constraint) GETSTRUCT(new);
	if (before->contype == CONSTRAINT_CHECK)
		rename_added("UPDATE migrate.added_constraint a SET name = $3" OF_LIVE_MIGRATION,
					 before->conrelid, &before->conname, &after->conname);
	else if (before->contype == CONSTRAINT_FOREIGN)
		rename_added("UPDATE migrate.added_reference a SET name = $3" OF_LIVE_MIGRATION
					 " AND a.phase <> 'checked'",
					 before->conrelid, &before->conname, &after->conname);
}

void
migrate_ddl_follow_alter_trigger(Oid oid)
{
	HeapTuple	old = migrate_catalog_row(TriggerRelationId, TriggerOidIndexId,
										  Anum_pg_trigger_oid, oid, NULL);
	HeapTuple	new = migrate_catalog_row(TriggerRelationId, TriggerOidIndexId,
										  Anum_pg_trigger_oid, oid, SnapshotSelf);
	Form_pg_trigger before;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	before = (Form_pg_trigger) GETSTRUCT(old);
	rename_added("UPDATE migrate.added_reference a SET name = $3" OF_LIVE_MIGRATION
				 " AND a.phase = 'checked'",
				 before->tgrelid, &before->tgname, &((Form_pg_trigger) GETSTRUCT(new))->tgname);
}

/* ---- columns ---- */

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

/* The row version itself, while nothing is live. */
static void
rename_version_column(Oid relid, const char *from, const char *to)
{
	migrate_store_execute("UPDATE migrate.managed SET version_column = $3"
						  " WHERE relation = $1 AND version_column = $2",
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
	rename_version_column(relid, from, to);
}

/*
 * The row version goes: while nothing is live, that gives the table back. What is
 * kept is the newest version, from which it would go on if it were managed again.
 */
void
migrate_ddl_follow_drop_column(Oid relid, AttrNumber attnum)
{
	if (may_be_known(relid))
		migrate_store_execute("WITH gone AS (DELETE FROM migrate.managed WHERE relation = $1"
							  "  AND version_column = $2 AND NOT EXISTS (SELECT FROM migrate.migration m"
							  "   WHERE m.relation = $1 AND m.state IN ('expanded', 'complete'))"
							  "  RETURNING relation, version)"
							  " INSERT INTO migrate.formerly_managed SELECT * FROM gone",
							  STORE_ARGS(store_relation(relid),
										 store_name(get_attname(relid, attnum, false))));
}

/* ---- schemas ---- */

/* What is recorded under the new name is of a schema that was dropped. */
static void
rename_publication(const char *from, const char *to)
{
	if (migrate_store_fetch("SELECT 1 FROM migrate.publication WHERE schema_name = $1",
							STORE_ARGS(store_name(from))) == NULL)
		return;
	migrate_store_execute("DELETE FROM migrate.publication WHERE schema_name = $1",
						  STORE_ARGS(store_name(to)));
	migrate_store_execute("DELETE FROM migrate.published_view WHERE schema_name = $1",
						  STORE_ARGS(store_name(to)));
	migrate_store_execute("UPDATE migrate.publication SET schema_name = $2 WHERE schema_name = $1",
						  STORE_ARGS(store_name(from), store_name(to)));
	migrate_store_execute("UPDATE migrate.published_view SET schema_name = $2 WHERE schema_name = $1",
						  STORE_ARGS(store_name(from), store_name(to)));
}

void
migrate_ddl_follow_alter_schema(Oid oid)
{
	HeapTuple	old = migrate_catalog_row(NamespaceRelationId, NamespaceOidIndexId,
										  Anum_pg_namespace_oid, oid, NULL);
	HeapTuple	new = migrate_catalog_row(NamespaceRelationId, NamespaceOidIndexId,
										  Anum_pg_namespace_oid, oid, SnapshotSelf);
	const char *from;
	const char *to;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	from = NameStr(((Form_pg_namespace) GETSTRUCT(old))->nspname);
	to = NameStr(((Form_pg_namespace) GETSTRUCT(new))->nspname);
	if (strcmp(from, to) != 0 && strcmp(from, MIGRATE_SCHEMA) != 0 && catalog_is_whole())
		rename_publication(from, to);
}

/* ---- triggers ---- */

static void
enable(Oid relid, const char *trigger, const char *how)
{
	if (OidIsValid(get_trigger_oid(relid, trigger, true)))
		migrate_store_ddl(relid, psprintf("ALTER TABLE %s ENABLE %s TRIGGER %s",
										  migrate_store_relation_sql(relid), how,
										  quote_identifier(trigger)));
}

/*
 * Those that check REFERENCES are to be as foreign keys are: only a superuser may
 * disable them, and only with ALL.
 */
static void
enable_references(const Conversion *conversion)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT a.name FROM migrate.added_reference a"
										 " JOIN migrate.migration m ON m.name = a.migration"
										 " WHERE m.relation = $1 AND m.state = 'expanded'"
										 "  AND a.phase = 'checked' ORDER BY a.name",
										 STORE_ARGS(store_relation(conversion->root))))
		enable(conversion->relid, lfirst(lc), "");
}

void
migrate_ddl_follow_switch_triggers(const RangeVar *table, bool with_references)
{
	static const char *const ours[] = {MIGRATE_TRIGGER_NAME, MIGRATE_LAST_TRIGGER_NAME,
	MIGRATE_DEFER_TRIGGER_NAME, MIGRATE_MEND_TRIGGER_NAME};
	Oid			relid = RangeVarGetRelid(table, NoLock, true);
	Conversion *conversion;

	CommandCounterIncrement();
	conversion = OidIsValid(relid) ? migrate_conversion_get(relid) : NULL;
	if (conversion == NULL)
		return;
	for (int i = 0; i < lengthof(ours); i++)
		enable(relid, ours[i], "ALWAYS");
	if (with_references)
		enable_references(conversion);
}
