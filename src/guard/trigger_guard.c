/*
 * guard/trigger_guard.c
 *		Triggers of a table's own that do not go well with a live migration.
 *
 * Refused: one with the name of one of ours, which would be taken for that, and go with
 * it; and a BEFORE row trigger whose name comes after our last one's. It would
 * be fired after the forms were brought in step, and what it changes in one of
 * them would be missing from the other.
 *
 * Warned of, because the server gives us no place to make it right:
 *	- a WHEN condition that reads of OLD what a stale row does not hold as it
 *	  reads: the executor fetches OLD as it is stored, and NEW is converted;
 *	- a trigger that goes by the columns which an UPDATE names, where one of them
 *	  is also computed from others: a client of the other form names those.
 *
 * The hook stands inside the server's DDL, before the command counter has moved:
 * the trigger is seen by SnapshotSelf alone. Locks: the command's own, on the
 * table; expand and ATTACH hold the table and its partitions.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/migration.h"
#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/trigger_guard.h"
#include "guc.h"
#include "migrate.h"

/* A trigger's row in the catalog, and how to read it. */
typedef struct TriggerRow
{
	HeapTuple	tuple;
	TupleDesc	desc;
	Form_pg_trigger form;
	const Conversion *conversion;	/* of its table */
} TriggerRow;

static Datum
trigger_attribute(const TriggerRow *row, AttrNumber attno, bool *isnull)
{
	return heap_getattr(row->tuple, attno, row->desc, isnull);
}

static const char *
column_name(const Conversion *conversion, AttrNumber attno)
{
	return NameStr(TupleDescAttr(conversion->tupdesc, attno - 1)->attname);
}

static char *
column_names(const Conversion *conversion, const Bitmapset *columns)
{
	StringInfoData names;
	int			attno = -1;

	initStringInfo(&names);
	while ((attno = bms_next_member(columns, attno)) >= 0)
		appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "",
						 column_name(conversion, attno));
	return names.data;
}

/* ---- names, and the order that they make ---- */

static void
refuse_name(const TriggerRow *row)
{
	if (migrate_migration_is_trigger_name(NameStr(row->form->tgname)))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("trigger \"%s\" of table \"%s\" has a name that belongs to migrate",
						NameStr(row->form->tgname), get_rel_name(row->form->tgrelid)),
				 errdetail("The table's triggers of that name are made and dropped with its migrations."),
				 errhint("Give it another name.")));
}

static bool
comes_last(const TriggerRow *row)
{
	return (TRIGGER_FOR_INSERT(row->form->tgtype) || TRIGGER_FOR_UPDATE(row->form->tgtype)) &&
		TRIGGER_FOR_BEFORE(row->form->tgtype) && TRIGGER_FOR_ROW(row->form->tgtype) &&
		strcmp(NameStr(row->form->tgname), MIGRATE_LAST_TRIGGER_NAME) > 0;
}

static void
refuse_last(const TriggerRow *row)
{
	if (comes_last(row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" of table \"%s\" would be fired after trigger \"%s\"",
						NameStr(row->form->tgname), get_rel_name(row->form->tgrelid),
						MIGRATE_LAST_TRIGGER_NAME),
				 errdetail("Triggers are fired in the order of the bytes of their names, and what this one changes in a row would not be in the row's other form."),
				 errhint("Give it a name that starts with an ASCII letter, a digit or an underscore.")));
}

/* ---- conditions that read OLD ---- */

/* Which columns may a stale row hold otherwise than they read? */
static Bitmapset *
converted_columns(const LiveMigration *live)
{
	Bitmapset  *columns = bms_union(live->added, live->rewritten);
	ListCell   *lc;

	foreach(lc, live->ups)
		columns = bms_add_member(columns, ((Assignment *) lfirst(lc))->target);
	return columns;
}

/* Which of some columns does an expression read of OLD? All, if it reads the whole row. */
static Bitmapset *
read_of_old(Node *condition, const Bitmapset *columns)
{
	Bitmapset  *offset = NULL;
	Bitmapset  *read = NULL;
	int			attno = -1;

	pull_varattnos(condition, PRS2_OLD_VARNO, &offset);
	if (bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, offset))
		return bms_copy(columns);
	while ((attno = bms_next_member(columns, attno)) >= 0)
		if (bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, offset))
			read = bms_add_member(read, attno);
	return read;
}

static void
warn_of_condition(const TriggerRow *row, const LiveMigration *live)
{
	bool		isnull;
	Datum		condition = trigger_attribute(row, Anum_pg_trigger_tgqual, &isnull);
	Bitmapset  *columns;

	if (isnull || live->complete)
		return;
	columns = read_of_old(stringToNode(TextDatumGetCString(condition)),
						  converted_columns(live));
	if (bms_is_empty(columns))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("the condition of trigger \"%s\" of table \"%s\" sees rows as they were before migration \"%s\"",
					NameStr(row->form->tgname), get_rel_name(row->form->tgrelid), live->name),
			 errdetail("It reads %s of OLD, which in a row that is not converted yet is what is stored there, while NEW is converted.",
					   column_names(row->conversion, columns)),
			 errhint("Such a row's OLD.%s is less than %d. A statement trigger's transition tables have converted rows.",
					 quote_identifier(column_name(row->conversion,
												  row->conversion->version_attno)),
					 live->version)));
}

/* ---- triggers that go by what an UPDATE names ---- */

/* The columns that follow the first two arguments, by name. */
static Bitmapset *
argument_columns(const TriggerRow *row)
{
	bool		isnull;
	Datum		arguments = trigger_attribute(row, Anum_pg_trigger_tgargs, &isnull);
	const char *argument = VARDATA_ANY(DatumGetByteaPP(arguments));
	Bitmapset  *columns = NULL;

	for (int i = 0; i < row->form->tgnargs; i++, argument += strlen(argument) + 1)
	{
		AttrNumber	attno = i < 2 ? InvalidAttrNumber : get_attnum(row->form->tgrelid, argument);

		if (attno > 0)
			columns = bms_add_member(columns, attno);
	}
	return columns;
}

/* The one built-in function that looks at what was named. */
static bool
updates_tsvector(const TriggerRow *row)
{
	return row->form->tgfoid == F_TSVECTOR_UPDATE_TRIGGER ||
		row->form->tgfoid == F_TSVECTOR_UPDATE_TRIGGER_COLUMN;
}

static Bitmapset *
columns_gone_by(const TriggerRow *row)
{
	Bitmapset  *columns = NULL;

	if (!TRIGGER_FOR_UPDATE(row->form->tgtype))
		return NULL;
	if (updates_tsvector(row))
		return argument_columns(row);
	for (int i = 0; i < row->form->tgattr.dim1; i++)
		columns = bms_add_member(columns, row->form->tgattr.values[i]);
	return columns;
}

/* The first column of some that is computed from others; those are left in "from". */
static AttrNumber
find_computed(const Bitmapset *columns, List *assignments, Bitmapset **from)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		const Assignment *assignment = lfirst(lc);

		*from = bms_difference(assignment->inputs, columns);
		if (!assignment->generated && bms_is_member(assignment->target, columns) &&
			!bms_is_empty(*from))
			return assignment->target;
	}
	return InvalidAttrNumber;
}

static void
warn_of_columns(const TriggerRow *row, const LiveMigration *live)
{
	Bitmapset  *columns = columns_gone_by(row);
	Bitmapset  *from;
	AttrNumber	attno = find_computed(columns, live->downs, &from);

	if (attno == InvalidAttrNumber)
		attno = find_computed(columns, live->ups, &from);
	if (attno == InvalidAttrNumber)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("trigger \"%s\" of table \"%s\" does not see all updates of column \"%s\"",
					NameStr(row->form->tgname), get_rel_name(row->form->tgrelid),
					column_name(row->conversion, attno)),
			 errdetail("It goes by the columns that an UPDATE names, and migration \"%s\" computes that one from %s as well.",
					   live->name, column_names(row->conversion, from)),
			 updates_tsvector(row) ?
			 errhint("Use a generated column instead, or a function that calls to_tsvector() on every UPDATE.") :
			 errhint("Have it fire on every UPDATE, or on those of that column and of these.")));
}

/* ---- when to look ---- */

/* Ours call a function of ours. */
static bool
is_ours_or_internal(Form_pg_trigger form)
{
	return form->tgisinternal || OidIsValid(form->tgparentid) ||
		((migrate_migration_is_trigger_name(NameStr(form->tgname)) ||
		  strcmp(NameStr(form->tgname), MIGRATE_PRUNE_TRIGGER_NAME) == 0) &&
		 get_func_namespace(form->tgfoid) == get_namespace_oid(MIGRATE_SCHEMA, false));
}

static void
check(const TriggerRow *row, int first_live)
{
	if (migrate_guc_guard)
	{
		refuse_name(row);
		refuse_last(row);
	}
	for (int i = first_live; i < row->conversion->nlive; i++)
	{
		warn_of_condition(row, &row->conversion->live[i]);
		warn_of_columns(row, &row->conversion->live[i]);
	}
}

/* A trigger as it is with a snapshot; false where it is none of our business. */
static bool
fetch(TriggerRow *row, Oid trigger, Snapshot snapshot)
{
	row->tuple = migrate_catalog_row(TriggerRelationId, TriggerOidIndexId,
									 Anum_pg_trigger_oid, trigger, snapshot);
	if (!HeapTupleIsValid(row->tuple))
		return false;
	row->form = (Form_pg_trigger) GETSTRUCT(row->tuple);
	if (is_ours_or_internal(row->form))
		return false;
	row->conversion = migrate_conversion_get(row->form->tgrelid);
	return row->conversion != NULL;
}

void
migrate_trigger_guard_check_created(Oid trigger)
{
	TriggerRow	row;
	Relation	triggers;

	if (!migrate_conversion_any() || !fetch(&row, trigger, SnapshotSelf))
		return;
	triggers = table_open(TriggerRelationId, AccessShareLock);
	row.desc = RelationGetDescr(triggers);
	check(&row, 0);
	table_close(triggers, AccessShareLock);
}

void
migrate_trigger_guard_check_altered(Oid trigger)
{
	TriggerRow	before;
	TriggerRow	after;

	if (migrate_guc_guard && migrate_conversion_any() &&
		fetch(&before, trigger, NULL) && !comes_last(&before) &&
		fetch(&after, trigger, SnapshotSelf))
	{
		refuse_name(&after);
		refuse_last(&after);
	}
}

static void
check_relation(Relation triggers, Oid relid, bool newest_only)
{
	TriggerRow	row = {.desc = RelationGetDescr(triggers),
	.conversion = migrate_conversion_get(relid)};
	ScanKeyData key;
	SysScanDesc scan;

	if (row.conversion == NULL)
		return;
	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(row.tuple = systable_getnext(scan)))
	{
		row.form = (Form_pg_trigger) GETSTRUCT(row.tuple);
		if (!is_ours_or_internal(row.form))
			check(&row, newest_only ? row.conversion->nlive - 1 : 0);
	}
	systable_endscan(scan);
}

static void
check_relations(Oid top, bool newest_only)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ListCell   *lc;

	foreach(lc, find_all_inheritors(top, NoLock, NULL))
		check_relation(triggers, lfirst_oid(lc), newest_only);
	table_close(triggers, AccessShareLock);
}

void
migrate_trigger_guard_check_expanded(Oid root)
{
	check_relations(root, true);
}

void
migrate_trigger_guard_check_attached(Oid relid)
{
	check_relations(relid, false);
}
