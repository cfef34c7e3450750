/*
 * catalog/failure.h
 *		Rows that could not be converted, as migrate.failure holds them.
 */
#ifndef MIGRATE_CATALOG_FAILURE_H
#define MIGRATE_CATALOG_FAILURE_H

#include "nodes/pg_list.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/elog.h"
#include "utils/rel.h"

/* The column of where a row is, the second of the index failure_row. */
#define FAILURE_ROW_TID_ATTNO	8

/*
 * A row fails, or fails still. "key" is JSON; "tid" is where the row is, whose
 * lock the caller has, or NULL.
 */
extern void migrate_failure_record(Oid heap, const char *migration, const char *key,
								   ItemPointer tid, int sqlerrcode, const char *message);

/* A row that fails, for many at once. */
typedef struct FailedRow
{
	const char *migration;
	const char *key;
	ItemPointerData tid;
	int			sqlerrcode;
	const char *message;
} FailedRow;

/* The same for a list of FailedRow *. */
extern void migrate_failure_record_all(Oid heap, List *rows);

/* The row that was at that place fails no more, or is there no more. */
extern void migrate_failure_forget(Oid heap, ItemPointer tid);

/*
 * The backfill is about to try rows: what is recorded by now; as text. Then it
 * has tried all rows of these blocks (the end is exclusive): which was recorded
 * before, and was not again, does not fail any more, unless it is among those
 * "failed" (ItemPointer) that were not recorded again. Records that others are
 * at are left alone.
 */
extern char *migrate_failure_snapshot(void);
extern void migrate_failure_forget_tried(Oid heap, BlockNumber from, BlockNumber to,
										 const char *before, List *failed);

/* A heap, which the caller has locked, has become shorter: so have gone rows at its end. */
extern void migrate_failure_forget_truncated(Relation heap);

/* A heap begins anew, and no row is where it was. */
extern void migrate_failure_displace(Oid heap);

/* It has been gone through: what has no place now is not failing, or is no row. */
extern void migrate_failure_forget_displaced(Oid heap);

/* Is there any in the heaps of a managed table? */
extern bool migrate_failure_any(Oid root);

#endif							/* MIGRATE_CATALOG_FAILURE_H */
