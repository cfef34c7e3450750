/*
 * backfill/range.h
 *		Moving the stale rows of a range of blocks.
 */
#ifndef MIGRATE_BACKFILL_RANGE_H
#define MIGRATE_BACKFILL_RANGE_H

#include <signal.h>

#include "datatype/timestamp.h"
#include "storage/block.h"
#include "utils/rel.h"

#include "backfill/meter.h"
#include "convert/conversion.h"

/* A range of a heap, and when to leave it early. */
typedef struct Range
{
	Relation	heap;
	Conversion *conversion;
	int32		target;			/* rows below this version are stale */
	BlockNumber from;
	BlockNumber to;				/* exclusive */
	int64		max_rows;		/* 0: no limit */
	TimestampTz deadline;		/* 0: none */
	const volatile sig_atomic_t *stop;	/* NULL, or leave when it is set */
	Meter	   *meter;			/* NULL, or leave when it finds a reason */
} Range;

typedef struct RangeResult
{
	BlockNumber next;			/* where to go on */
	BlockNumber at;				/* where it was, for who catches an error */
	const char *culprit;		/* the migration, likewise; NULL: unknown */
	int64		converted;
	int64		repaired;		/* those of them in blocks that reads had noted */
	int64		skipped;		/* locked by others */
	int64		failed;
	BlockNumber left_from;		/* the blocks of those two; */
	BlockNumber left_to;		/* exclusive; equal: there are none */
} RangeResult;

extern void migrate_range_start(const Range *range, RangeResult *result);
extern void migrate_range_convert(const Range *range, RangeResult *result);

/* Is it to be left early by now? */
extern bool migrate_range_is_time_up(const Range *range);

/* One row, as part of a range; false where it is gone or not stale. */
extern void migrate_range_convert_row(const Range *range, ItemPointer tid, RangeResult *result);

/* A row was left behind in a block. */
extern void migrate_range_leave(RangeResult *result, BlockNumber block);

/* The stale rows of the range: where they are (ItemPointer), or only how many. */
extern List *migrate_range_find(const Range *range);
extern int64 migrate_range_count(const Range *range);

#endif							/* MIGRATE_BACKFILL_RANGE_H */
