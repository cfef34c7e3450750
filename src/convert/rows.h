/*
 * convert/rows.h
 *		Reading the extension's own tables inside the planner and inside triggers.
 */
#ifndef MIGRATE_CONVERT_ROWS_H
#define MIGRATE_CONVERT_ROWS_H

#include "access/genam.h"
#include "access/skey.h"
#include "access/transam.h"
#include "utils/relcache.h"

typedef struct Rows
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
} Rows;

/* A scan's keys carry the table's column numbers, not the index's. */
extern void rows_key(ScanKey key, AttrNumber attno, RegProcedure procedure, Datum value);
extern void rows_key_text(ScanKey key, AttrNumber attno, const char *value);

/*
 * Begin to read the rows of one of our tables; keys are on the index's first
 * columns. False where the table is not there: the extension is being dropped.
 */
extern bool rows_begin(Rows *rows, const char *table, const char *index,
					   int nkeys, ScanKey keys);
extern bool rows_next(Rows *rows);
extern void rows_end(Rows *rows);

/* A column of the present row. */
extern Datum rows_get(Rows *rows, const char *column, bool *isnull);
extern char *rows_get_text(Rows *rows, const char *column);
extern int32 rows_get_int(Rows *rows, const char *column);
extern FullTransactionId rows_get_xid(Rows *rows, const char *column);
extern char *rows_get_name(Rows *rows, const char *column);

#endif							/* MIGRATE_CONVERT_ROWS_H */
