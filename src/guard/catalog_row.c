/*
 * guard/catalog_row.c
 *		One row of a system catalog, as it was or as it will be.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "guard/catalog_row.h"

static HeapTuple
fetch(Oid catalog, Oid index, int nkeys, ScanKey keys, Snapshot snapshot)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, index, true, snapshot, nkeys, keys);
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

HeapTuple
migrate_catalog_row(Oid catalog, Oid index, AttrNumber oid_column, Oid oid, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, oid_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	return fetch(catalog, index, 1, &key, snapshot);
}

HeapTuple
migrate_catalog_column(Oid relid, AttrNumber attnum, Snapshot snapshot)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_attribute_attnum, BTEqualStrategyNumber,
				F_INT2EQ, Int16GetDatum(attnum));
	return fetch(AttributeRelationId, AttributeRelidNumIndexId, 2, keys, snapshot);
}
