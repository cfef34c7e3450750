/*
 * guard/drop_guard.c
 *		Refusing what would take away what a live migration needs.
 *
 * Guarded are, while a migration is expanded or complete: the columns that it
 * adds, removes, reads or assigns, the row version column with its default and
 * its NOT NULL, the proof constraint, declared indexes, the write trigger, the table, and (since
 * the trigger hangs on it) the extension. To drop, rename or retype them is
 * refused to everybody, however it is said: the server tells us of each object
 * that a command drops, by cascade too, and of each catalog row that it
 * changes. A superuser who knows better sets migrate.guard to off. Contract and
 * rollback need no such leave: they first move their migration to a state that
 * is not live, and what is still guarded then is what they must not touch.
 *
 * Not guarded: partitions of a managed table come and go with the data in them.
 *
 * We are called inside the server's DDL, under its lock on the table
 * (guard/ddl_hooks.c). When something is altered, the command counter has not
 * moved yet, so that the row of the catalog can be seen as it was and as it will
 * be. Both are read before anything else is done.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "compat.h"
#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/drop_guard.h"
#include "guard/statement.h"
#include "migrate.h"

/* ---- what is guarded ---- */

/*
 * A table's conversion where the guard holds over it. Only plain and
 * partitioned tables that last can be managed; asking for others would but
 * fill the cache.
 */
static Conversion *
guarded_conversion(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	if ((relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE) ||
		get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		return NULL;
	return migrate_conversion_get(relid);
}

static bool
is_assigned(List *assignments, AttrNumber attnum)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		const Assignment *assignment = lfirst(lc);

		if (assignment->target == attnum && !assignment->generated)
			return true;
	}
	return false;
}

static const char use_of_version_column[] = "The column says in which form each row is stored.";

/* What a live migration needs a column for; NULL where it does not. */
static const char *
use_of_column(const LiveMigration *live, AttrNumber attnum)
{
	if (bms_is_member(attnum, live->added))
		return "The column belongs to the new form, which the migration adds.";
	if (bms_is_member(attnum, live->removed))
		return "The column belongs to the old form, which is kept until the migration is contracted.";
	if (bms_is_member(attnum, live->named) ||
		is_assigned(live->ups, attnum) || is_assigned(live->downs, attnum))
		return "The migration converts rows from or to that column.";
	return NULL;
}

/* The live migration whose proof a constraint of that name is. */
static const LiveMigration *
proven_migration(const Conversion *conversion, const char *constraint)
{
	const char *column = NameStr(TupleDescAttr(conversion->tupdesc,
											   conversion->version_attno - 1)->attname);

	for (int i = 0; i < conversion->nlive; i++)
	{
		LiveMigration *live = &conversion->live[i];

		if (strcmp(migrate_migration_proof_name(column, live->version), constraint) == 0)
			return live;
	}
	return NULL;
}

/* ---- refusing ---- */

void
migrate_drop_guard_refuse(const char *verb, const char *object,
						  const LiveMigration *live, const char *why)
{
	char	   *name = quote_literal_cstr(live->name);

	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot %s %s while migration \"%s\" is live", verb, object, live->name),
			 errdetail("%s", why),
			 errhint("SELECT migrate.contract(%s) ends the migration by dropping its old form, SELECT migrate.rollback(%s) by dropping its new form.",
					 name, name)));
}

static void
refuse_column(const char *verb, const Conversion *conversion, AttrNumber attnum)
{
	char	   *object = psprintf("column \"%s\" of table \"%s\"",
								  get_attname(conversion->relid, attnum, false),
								  get_rel_name(conversion->relid));

	if (attnum == conversion->version_attno)
		migrate_drop_guard_refuse(verb, object, &conversion->live[0], use_of_version_column);
	for (int i = 0; i < conversion->nlive; i++)
	{
		const char *use = use_of_column(&conversion->live[i], attnum);

		if (use != NULL)
			migrate_drop_guard_refuse(verb, object, &conversion->live[i], use);
	}
}

static char *
live_names(const Conversion *conversion)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < conversion->nlive; i++)
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", conversion->live[i].name);
	return names.data;
}

static void
refuse_table(const Conversion *conversion)
{
	migrate_drop_guard_refuse("drop", psprintf("table \"%s\"", get_rel_name(conversion->relid)),
		   &conversion->live[0],
		   psprintf("Live migrations of the table: %s.", live_names(conversion)));
}

/*
 * A part of a table that goes by itself, or with the table: the server drops
 * the parts first.
 */
static void
refuse_part(const char *verb, const char *kind, const char *name,
			const Conversion *conversion, const LiveMigration *live, const char *why)
{
	if (migrate_statement_is_dropping(conversion->root))
		refuse_table(conversion);
	migrate_drop_guard_refuse(verb, psprintf("%s \"%s\" of table \"%s\"", kind, name,
						  get_rel_name(conversion->relid)), live, why);
}

/* ---- catalog rows, as they were and as they will be ---- */

static HeapTuple
fetch_trigger(Oid oid, Snapshot snapshot)
{
	return migrate_catalog_row(TriggerRelationId, TriggerOidIndexId,
							   Anum_pg_trigger_oid, oid, snapshot);
}

static HeapTuple
fetch_constraint(Oid oid, Snapshot snapshot)
{
	return migrate_catalog_row(ConstraintRelationId, ConstraintOidIndexId,
							   Anum_pg_constraint_oid, oid, snapshot);
}

/* ---- dropping ---- */

static void
on_drop_column(Oid relid, AttrNumber attnum)
{
	Conversion *conversion = guarded_conversion(relid);

	if (conversion != NULL)
		refuse_column("drop", conversion, attnum);
}

static void
on_drop_table(Oid relid)
{
	Conversion *conversion = guarded_conversion(relid);

	if (conversion != NULL && conversion->root == relid)
		refuse_table(conversion);
}

/*
 * An index that was declared, for what is taken away comes again as long as its
 * declaration stands. What a build that failed has left may go.
 */
static void
on_drop_index(Oid oid)
{
	Oid			relid = IndexGetRelation(oid, true);
	Conversion *conversion = OidIsValid(relid) ? guarded_conversion(relid) : NULL;
	char	   *migration;

	if (conversion == NULL)
		return;
	migration = migrate_store_fetch("SELECT d.migration FROM migrate.declared_index d"
									" JOIN pg_index i ON i.indrelid = d.relation"
									" JOIN pg_class c ON c.oid = i.indexrelid AND c.relname = d.name"
									" WHERE i.indexrelid = $1 AND i.indisvalid",
									STORE_ARGS(store_oid(oid)));
	if (migration == NULL)
		return;
	if (migrate_statement_is_dropping(conversion->root))
		refuse_table(conversion);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop index \"%s\" while migration \"%s\" is live",
					get_rel_name(oid), migration),
			 errdetail("It was declared for the migration's new form."),
			 errhint("SELECT migrate.drop_index(%s, %s) drops it with its declaration.",
					 quote_literal_cstr(migration), quote_literal_cstr(get_rel_name(oid)))));
}

/* A partition's constraint goes with the partition; alone the server does not let it go. */
static void
on_drop_constraint(Oid oid)
{
	HeapTuple	tuple = fetch_constraint(oid, NULL);
	Form_pg_constraint constraint;
	Conversion *conversion;
	const LiveMigration *live;

	if (!HeapTupleIsValid(tuple))
		return;
	constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	conversion = guarded_conversion(constraint->conrelid);
	if (conversion == NULL || conversion->root != constraint->conrelid)
		return;
	if (compat_not_null_column(tuple) == conversion->version_attno)
	{
		if (migrate_statement_is_dropping(conversion->root))
			refuse_table(conversion);
		refuse_column("drop NOT NULL of", conversion, conversion->version_attno);
	}
	live = proven_migration(conversion, NameStr(constraint->conname));
	if (live != NULL)
		refuse_part("drop", "constraint", NameStr(constraint->conname), conversion, live,
					"It holds new rows to the migration's version, and proves in the end that no stale row is left.");
}

/* Likewise a partition's copy of the trigger. */
static void
on_drop_trigger(Oid oid)
{
	HeapTuple	tuple = fetch_trigger(oid, NULL);
	Form_pg_trigger trigger;
	Conversion *conversion;

	if (!HeapTupleIsValid(tuple))
		return;
	trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	if (!migrate_migration_is_trigger_name(NameStr(trigger->tgname)))
		return;
	conversion = guarded_conversion(trigger->tgrelid);
	if (conversion != NULL && conversion->root == trigger->tgrelid)
		refuse_part("drop", "trigger", NameStr(trigger->tgname), conversion,
					&conversion->live[0], "It keeps both forms in step on every write.");
}

static bool
follows_generated(const LiveMigration *live, AttrNumber attnum)
{
	ListCell   *lc;

	foreach(lc, live->ups)
		if (((Assignment *) lfirst(lc))->target == attnum && ((Assignment *) lfirst(lc))->generated)
			return true;
	return false;
}

/* SET EXPRESSION drops what the server keeps as its default, DROP EXPRESSION alters the column. */
static void
check_generated(const Conversion *conversion, AttrNumber attnum)
{
	const FormData_pg_attribute *attr = TupleDescAttr(conversion->tupdesc, attnum - 1);

	for (int i = 0; i < conversion->nlive; i++)
		if (use_of_column(&conversion->live[i], attnum) != NULL ||
			follows_generated(&conversion->live[i], attnum))
			refuse_part("alter the expression of", "column", NameStr(attr->attname), conversion,
						&conversion->live[i],
						"Rows were converted by what it computes now, and stale ones read as that.");
}

/*
 * SET DEFAULT and DROP COLUMN come here too: the server drops the old default
 * first. By its default the write trigger knows that a statement did not say a
 * row's version.
 */
static void
on_drop_default(Oid oid)
{
	ObjectAddress column = GetAttrDefaultColumnAddress(oid);
	Conversion *conversion;

	if (!OidIsValid(column.objectId))
		return;
	conversion = guarded_conversion(column.objectId);
	if (conversion == NULL)
		return;
	if (migrate_statement_is_dropping_tables() && conversion->root != column.objectId)
		return;					/* goes with its partition */
	if (column.objectSubId != conversion->version_attno)
	{
		const char *name = get_attname(column.objectId, column.objectSubId, false);

		if (migrate_statement_is_recomputing(name))
			check_generated(conversion, column.objectSubId);
		return;
	}
	refuse_part("alter or drop", "column",
				get_attname(column.objectId, column.objectSubId, false), conversion,
				&conversion->live[0], use_of_version_column);
}

void
migrate_drop_guard_check_drop(Oid class, Oid oid, int subid)
{
	switch (class)
	{
		case RelationRelationId:
			if (subid != 0)
				on_drop_column(oid, subid);
			else if (get_rel_relkind(oid) == RELKIND_INDEX ||
					 get_rel_relkind(oid) == RELKIND_PARTITIONED_INDEX)
				on_drop_index(oid);
			else
				on_drop_table(oid);
			break;
		case ConstraintRelationId:
			on_drop_constraint(oid);
			break;
		case TriggerRelationId:
			on_drop_trigger(oid);
			break;
		case AttrDefaultRelationId:
			on_drop_default(oid);
			break;
	}
}

/* ---- altering ---- */

/* With USING other values are stored than those of which the other form was made. */
static const char *
column_change(Form_pg_attribute old, Form_pg_attribute new)
{
	if (strcmp(NameStr(old->attname), NameStr(new->attname)) != 0)
		return "rename";
	if (old->atttypid != new->atttypid || old->atttypmod != new->atttypmod ||
		old->attcollation != new->attcollation ||
		migrate_statement_is_recomputing(NameStr(old->attname)))
		return "alter the type of";
	return NULL;
}

static void
on_alter_column(Oid relid, AttrNumber attnum)
{
	HeapTuple	old = migrate_catalog_column(relid, attnum, NULL);
	HeapTuple	new = migrate_catalog_column(relid, attnum, SnapshotSelf);
	Form_pg_attribute before;
	Form_pg_attribute after;
	const char *change;
	Conversion *conversion;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	before = (Form_pg_attribute) GETSTRUCT(old);
	after = (Form_pg_attribute) GETSTRUCT(new);
	change = column_change(before, after);
	if (change == NULL && before->attnotnull == after->attnotnull &&
		before->attgenerated == after->attgenerated)
		return;
	conversion = guarded_conversion(relid);
	if (conversion == NULL)
		return;
	if (before->attgenerated && !after->attgenerated)
		check_generated(conversion, attnum);
	if (change != NULL)
		refuse_column(change, conversion, attnum);
	else if (attnum == conversion->version_attno && !after->attnotnull)
		refuse_column("drop NOT NULL of", conversion, attnum);
}

/* The trigger that checks a REFERENCES of a migration until there is a foreign key. */
static bool
is_reference_trigger(Form_pg_trigger trigger)
{
	return trigger->tgfoid == migrate_store_function("reference_trigger", 0, NULL);
}

/*
 * To enable it fully is fine: so does a restore, which makes triggers first. Where
 * all triggers are switched, ours are switched back (guard/ddl_follow.c).
 */
static bool
stays_enabled(Form_pg_trigger before, Form_pg_trigger after)
{
	return before->tgenabled == after->tgenabled ||
		after->tgenabled == TRIGGER_FIRES_ALWAYS ||
		(after->tgenabled == TRIGGER_FIRES_ON_ORIGIN && is_reference_trigger(after)) ||
		migrate_statement_is_switching_triggers();
}

/* Our catalog follows the name of one that checks REFERENCES. */
static bool
is_same_trigger(Form_pg_trigger before, Form_pg_trigger after)
{
	return (strcmp(NameStr(before->tgname), NameStr(after->tgname)) == 0 ||
			is_reference_trigger(before)) &&
		stays_enabled(before, after) &&
		before->tgfoid == after->tgfoid && before->tgtype == after->tgtype;
}

/* A trigger that was made just now has no row from before. */
static void
on_alter_trigger(Oid oid)
{
	HeapTuple	old = fetch_trigger(oid, NULL);
	HeapTuple	new = fetch_trigger(oid, SnapshotSelf);
	Form_pg_trigger before;
	Form_pg_trigger after;
	Conversion *conversion;

	if (!migrate_conversion_any() || !HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	before = (Form_pg_trigger) GETSTRUCT(old);
	after = (Form_pg_trigger) GETSTRUCT(new);
	if (!migrate_migration_is_trigger_name(NameStr(before->tgname)) &&
		!is_reference_trigger(before))
		return;
	if (is_same_trigger(before, after))
		return;
	conversion = guarded_conversion(before->tgrelid);
	if (conversion != NULL)
		refuse_part(before->tgenabled != after->tgenabled ? "disable" : "alter",
					"trigger", NameStr(before->tgname), conversion, &conversion->live[0],
					is_reference_trigger(before)
					? "It holds writes of the new form to what they refer to. DROP TRIGGER gives that constraint up."
					: "It keeps both forms in step on every write.");
}

static void
on_alter_constraint(Oid oid)
{
	HeapTuple	old = fetch_constraint(oid, NULL);
	HeapTuple	new = fetch_constraint(oid, SnapshotSelf);
	Form_pg_constraint before;
	Conversion *conversion;
	const LiveMigration *live;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	before = (Form_pg_constraint) GETSTRUCT(old);
	if (strcmp(NameStr(before->conname),
			   NameStr(((Form_pg_constraint) GETSTRUCT(new))->conname)) == 0)
		return;
	conversion = guarded_conversion(before->conrelid);
	if (conversion == NULL)
		return;
	live = proven_migration(conversion, NameStr(before->conname));
	if (live != NULL)
		refuse_part("rename", "constraint", NameStr(before->conname), conversion, live,
					"It is the proof that no stale row is left, and known by its name.");
}

/* What stands in for a declared index is known by its name, and goes at completion. */
static void
on_alter_index(Form_pg_class before, Form_pg_class after)
{
	Oid			relid = IndexGetRelation(before->oid, true);
	Conversion *conversion;

	if (strcmp(NameStr(before->relname), NameStr(after->relname)) == 0 ||
		strncmp(NameStr(before->relname), MIGRATE_INDEX_PREFIX "_",
				strlen(MIGRATE_INDEX_PREFIX "_")) != 0)
		return;
	conversion = OidIsValid(relid) ? guarded_conversion(relid) : NULL;
	if (conversion != NULL)
		refuse_part("rename", "index", NameStr(before->relname), conversion, &conversion->live[0],
					"It is there until the migration is complete, and known by its name.");
}

static void
on_alter_kind(Form_pg_class before, Form_pg_class after)
{
	Conversion *conversion;
	char	   *table;

	if (before->reloftype == after->reloftype && before->relam == after->relam)
		return;
	conversion = guarded_conversion(before->oid);
	if (conversion == NULL)
		return;
	table = psprintf("table \"%s\"", NameStr(before->relname));
	if (OidIsValid(after->reloftype))
		migrate_drop_guard_refuse("give a type to", table, &conversion->live[0],
								  "Columns of a typed table cannot be dropped.");
	if (after->relam != HEAP_TABLE_AM_OID)
		migrate_drop_guard_refuse("change the access method of", table, &conversion->live[0],
								  "Rows are converted in tables of access method \"heap\" only.");
}

/* A table as such, or an index. */
static void
on_alter_relation(Oid oid)
{
	HeapTuple	old = migrate_catalog_row(RelationRelationId, ClassOidIndexId,
										  Anum_pg_class_oid, oid, NULL);
	HeapTuple	new = migrate_catalog_row(RelationRelationId, ClassOidIndexId,
										  Anum_pg_class_oid, oid, SnapshotSelf);
	Form_pg_class before;

	if (!HeapTupleIsValid(old) || !HeapTupleIsValid(new))
		return;
	before = (Form_pg_class) GETSTRUCT(old);
	if (before->relkind == RELKIND_INDEX)
		on_alter_index(before, (Form_pg_class) GETSTRUCT(new));
	else if (before->relkind == RELKIND_RELATION)
		on_alter_kind(before, (Form_pg_class) GETSTRUCT(new));
}

/* All that is ours is found by the name of its schema. */
static void
on_alter_schema(Oid oid)
{
	HeapTuple	new = migrate_catalog_row(NamespaceRelationId, NamespaceOidIndexId,
										  Anum_pg_namespace_oid, oid, SnapshotSelf);

	if (strcmp(get_namespace_name(oid), MIGRATE_SCHEMA) != 0 || !HeapTupleIsValid(new) ||
		strcmp(NameStr(((Form_pg_namespace) GETSTRUCT(new))->nspname), MIGRATE_SCHEMA) == 0 ||
		!OidIsValid(migrate_store_extension_owner()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot rename schema \"%s\" of extension \"%s\"",
					MIGRATE_SCHEMA, MIGRATE_EXTENSION),
			 errhint("The extension knows what is its own by that name.")));
}

void
migrate_drop_guard_check_alter(Oid class, Oid oid, int subid)
{
	switch (class)
	{
		case RelationRelationId:
			if (subid != 0)
				on_alter_column(oid, subid);
			else
				on_alter_relation(oid);
			break;
		case NamespaceRelationId:
			on_alter_schema(oid);
			break;
		case TriggerRelationId:
			on_alter_trigger(oid);
			break;
		case ConstraintRelationId:
			on_alter_constraint(oid);
			break;
	}
}
