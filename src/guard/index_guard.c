/*
 * guard/index_guard.c
 *		Refusing unique indexes that could not know what stale rows read as.
 *
 * A stale row is in an index on a column of the new form with what is stored
 * there, which is nothing yet. For a plain index that does not matter, since
 * queries do not search it for what a row reads as. A unique one would let in a
 * second row that reads the same, ON CONFLICT would not find the first, and a
 * foreign key that refers to it would let go of what it refers to. So there is
 * none until the proof stands that no row is stale; migrate.create_index() knows
 * both to wait for that and to do without. An exclusion constraint's index is as
 * ignorant.
 *
 * The hook stands inside the server's DDL, under its lock on the table, before
 * the command counter has moved: the index is seen by SnapshotSelf alone.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/index_guard.h"

static HeapTuple
fetch_index(Oid oid)
{
	return migrate_catalog_row(IndexRelationId, IndexRelidIndexId,
							   Anum_pg_index_indexrelid, oid, SnapshotSelf);
}

/*
 * The index of a partition that the server makes after one of the parent's is as
 * good as that, which was looked at when it was made, or is a declared one.
 */
static bool
is_of_concern(Oid oid)
{
	HeapTuple	tuple = migrate_catalog_row(RelationRelationId, ClassOidIndexId,
											Anum_pg_class_oid, oid, SnapshotSelf);
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	return (form->relkind == RELKIND_INDEX || form->relkind == RELKIND_PARTITIONED_INDEX) &&
		!form->relispartition;
}

static bool
is_proven(const Conversion *conversion, const LiveMigration *live)
{
	const char *column = NameStr(TupleDescAttr(conversion->tupdesc,
											   conversion->version_attno - 1)->attname);
	char	   *name = migrate_migration_proof_name(column, live->version);

	if (live->complete || live->proof_due)
		return live->complete;
	return migrate_store_fetch("SELECT 1 FROM pg_catalog.pg_constraint"
							" WHERE conrelid = $1 AND conname = $2 AND convalidated",
							STORE_ARGS(store_relation(conversion->root),
									   store_name(name))) != NULL;
}

/* The live migration that adds a column of which rows may be stale; NULL if none does. */
static const LiveMigration *
stale_migration(const Conversion *conversion, AttrNumber attno)
{
	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];

		if (bms_is_member(attno, live->added) && !is_proven(conversion, live))
			return live;
	}
	return NULL;
}

static void
refuse(const Conversion *conversion, const LiveMigration *live, AttrNumber attno,
	   bool is_exclusion)
{
	const char *column = NameStr(TupleDescAttr(conversion->tupdesc, attno - 1)->attname);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot create %s on column \"%s\" while rows of migration \"%s\" are stale",
					is_exclusion ? "an exclusion constraint" : "a unique index", column, live->name),
			 errdetail("The index would not know what the column reads as in a row that is not converted yet."),
			 is_exclusion ? errhint("Add the exclusion constraint once the migration is complete.") :
			 errhint("SELECT migrate.create_index(%s, %s, is_unique => true) has it made when all rows are.",
					 quote_literal_cstr(live->name),
					 quote_literal_cstr(quote_identifier(column)))));
}

static void
add_columns_of(HeapTuple tuple, AttrNumber stored, Bitmapset **offset)
{
	bool		isnull;
	Datum		expressions = SysCacheGetAttr(INDEXRELID, tuple, stored, &isnull);

	if (!isnull)
		pull_varattnos(stringToNode(TextDatumGetCString(expressions)), 1, offset);
}

/* The columns that tell which rows an index keeps apart: of its keys and of its predicate. */
static Bitmapset *
telling_columns(HeapTuple tuple)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	Bitmapset  *offset = NULL;
	Bitmapset  *columns = NULL;
	int			bit = -1;

	add_columns_of(tuple, Anum_pg_index_indexprs, &offset);
	add_columns_of(tuple, Anum_pg_index_indpred, &offset);
	while ((bit = bms_next_member(offset, bit)) >= 0)
		if (bit + FirstLowInvalidHeapAttributeNumber > 0)
			columns = bms_add_member(columns, bit + FirstLowInvalidHeapAttributeNumber);
	for (int i = 0; i < index->indnkeyatts; i++)
		if (index->indkey.values[i] > 0)
			columns = bms_add_member(columns, index->indkey.values[i]);
	return columns;
}

static bool
keeps_rows_apart(Form_pg_index index)
{
	return index->indisunique || index->indisexclusion;
}

/* An expression that asks for the row version is what a column reads as. */
void
migrate_index_guard_check_create(Oid oid)
{
	HeapTuple	tuple;
	Conversion *conversion;
	Bitmapset  *columns;
	int			attno = -1;

	if (!is_of_concern(oid))
		return;
	tuple = fetch_index(oid);
	if (!HeapTupleIsValid(tuple) || !keeps_rows_apart((Form_pg_index) GETSTRUCT(tuple)))
		return;
	conversion = migrate_conversion_get(((Form_pg_index) GETSTRUCT(tuple))->indrelid);
	if (conversion == NULL)
		return;
	columns = telling_columns(tuple);
	if (bms_is_member(conversion->version_attno, columns))
		return;
	while ((attno = bms_next_member(columns, attno)) >= 0)
	{
		const LiveMigration *live = stale_migration(conversion, attno);

		if (live != NULL)
			refuse(conversion, live, attno, ((Form_pg_index) GETSTRUCT(tuple))->indisexclusion);
	}
}
