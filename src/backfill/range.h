/*
 * backfill/range.h
 *		Counting the stale rows in a range of blocks.
 */
#ifndef MIGRATE_BACKFILL_RANGE_H
#define MIGRATE_BACKFILL_RANGE_H

#include "storage/block.h"
#include "utils/rel.h"

#include "convert/conversion.h"

typedef struct Range
{
	Relation	heap;
	Conversion *conversion;
	int32		target;			/* rows below this version are stale */
	BlockNumber from;
	BlockNumber to;				/* exclusive */
} Range;

/* Of the rows that the active snapshot sees. */
extern int64 migrate_range_count(const Range *range);

#endif							/* MIGRATE_BACKFILL_RANGE_H */
