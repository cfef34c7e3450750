/*
 * guard/function_guard.c
 *		Functions that are replaced while live migrations use them.
 *
 * To replace a function that fails for some rows by one that does not is how its
 * owner gets a migration going again, so it is let pass. But rows that are
 * converted keep what the function made of them before, as an index on its
 * results would: of that we warn.
 *
 * The hook stands inside the server's DDL, before the command counter has moved:
 * the row of the catalog can be seen as it was and as it will be. No locks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_proc.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/function_guard.h"
#include "migrate.h"

/* What a function yields may be another if one of these is. */
static const AttrNumber telling[] = {
	Anum_pg_proc_prosrc, Anum_pg_proc_probin, Anum_pg_proc_prosqlbody, Anum_pg_proc_proconfig,
	Anum_pg_proc_provolatile, Anum_pg_proc_proisstrict, Anum_pg_proc_prosecdef,
};

static bool
is_same(HeapTuple before, HeapTuple after, TupleDesc desc, AttrNumber attno)
{
	Form_pg_attribute attr = TupleDescAttr(desc, attno - 1);
	bool		was_null;
	bool		is_null;
	Datum		old = heap_getattr(before, attno, desc, &was_null);
	Datum		new = heap_getattr(after, attno, desc, &is_null);

	if (was_null || is_null)
		return was_null == is_null;
	return datum_image_eq(old, new, attr->attbyval, attr->attlen);
}

static bool
may_yield_another(HeapTuple before, HeapTuple after)
{
	Relation	functions = table_open(ProcedureRelationId, AccessShareLock);
	bool		same = true;

	for (int i = 0; i < lengthof(telling); i++)
		same = same && is_same(before, after, RelationGetDescr(functions), telling[i]);
	table_close(functions, AccessShareLock);
	return !same;
}

static HeapTuple
fetch_function(Oid function, Snapshot snapshot)
{
	return migrate_catalog_row(ProcedureRelationId, ProcedureOidIndexId,
							   Anum_pg_proc_oid, function, snapshot);
}

/* The tables on whose write triggers it is noted that their migrations use it. */
static char *
tables_using(Oid function)
{
	return migrate_store_fetch("SELECT string_agg(DISTINCT t.tgrelid::regclass::text, ', ')"
							   " FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid"
							   " WHERE d.classid = 'pg_trigger'::regclass"
							   "  AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = $1"
							   "  AND t.tgname = '" MIGRATE_TRIGGER_NAME "' AND t.tgfoid <> $1",
							   STORE_ARGS(store_oid(function)));
}

void
migrate_function_guard_check(Oid function)
{
	HeapTuple	before;
	HeapTuple	after;
	char	   *tables;

	if (!migrate_conversion_any())
		return;
	before = fetch_function(function, NULL);
	after = fetch_function(function, SnapshotSelf);
	if (!HeapTupleIsValid(before) || !HeapTupleIsValid(after) || !may_yield_another(before, after))
		return;
	tables = tables_using(function);
	if (tables != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("function \"%s\" is used by live migrations of %s",
						NameStr(((Form_pg_proc) GETSTRUCT(after))->proname), tables),
				 errdetail("Rows that are converted already keep what it made of them before.")));
}
