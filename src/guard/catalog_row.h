/*
 * guard/catalog_row.h
 *		One row of a system catalog, as it was or as it will be.
 */
#ifndef MIGRATE_GUARD_CATALOG_ROW_H
#define MIGRATE_GUARD_CATALOG_ROW_H

#include "access/htup.h"
#include "utils/snapshot.h"

/*
 * A copy of the row, or NULL where there is none. With a NULL snapshot it is the
 * row as of the last command, with SnapshotSelf as the current one leaves it.
 */
extern HeapTuple migrate_catalog_row(Oid catalog, Oid index, AttrNumber oid_column,
									 Oid oid, Snapshot snapshot);
extern HeapTuple migrate_catalog_column(Oid relid, AttrNumber attnum, Snapshot snapshot);

#endif							/* MIGRATE_GUARD_CATALOG_ROW_H */
