/*
 * backfill/range.c
 *		Counting the stale rows in a range of blocks.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "backfill/page.h"
#include "backfill/range.h"
#include "catalog/try.h"
#include "convert/converter.h"

/* ---- reading the range ---- */

typedef struct RangeScan
{
	const Range *range;
	Staleness	staleness;
	TableScanDesc scan;
	TupleTableSlot *slot;
} RangeScan;

static void
range_begin(RangeScan *scan, const Range *range)
{
	ItemPointerData first;
	ItemPointerData last;

	ItemPointerSet(&first, range->from, FirstOffsetNumber);
	ItemPointerSet(&last, range->to - 1, MaxOffsetNumber);
	scan->range = range;
	migrate_page_init_staleness(&scan->staleness, range->heap, range->conversion, range->target);
	scan->slot = table_slot_create(range->heap, NULL);
	scan->scan = table_beginscan_tidrange(range->heap, GetActiveSnapshot(), &first, &last);
}

static void
range_end(RangeScan *scan)
{
	table_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
}

/* The next stale row, with its version; false at the range's end. */
static bool
range_next(RangeScan *scan, int32 *version)
{
	while (table_scan_getnextslot_tidrange(scan->scan, ForwardScanDirection, scan->slot))
	{
		HeapTuple	tuple = ExecFetchSlotHeapTuple(scan->slot, false, NULL);

		CHECK_FOR_INTERRUPTS();
		*version = migrate_page_version(&scan->staleness, scan->range->heap, tuple);
		if (*version < scan->range->target)
			return true;
	}
	return false;
}

/* ---- counting ---- */

typedef struct Count
{
	const Range *range;
	int64		rows;
} Count;

/* Those that a migration has something to do with. */
static void
count_in_need(void *context)
{
	Count	   *count = context;
	Converter  *converter = migrate_converter_acquire(count->range->conversion);
	RangeScan	scan;
	int32		version;

	range_begin(&scan, count->range);
	while (range_next(&scan, &version))
	{
		migrate_converter_load(converter, scan.slot);
		if (migrate_converter_is_in_need(converter, version))
			count->rows++;
	}
	range_end(&scan);
	migrate_converter_release(converter);
}

static int64
count_all(const Range *range)
{
	RangeScan	scan;
	int32		version;
	int64		count = 0;

	range_begin(&scan, range);
	while (range_next(&scan, &version))
		count++;
	range_end(&scan);
	return count;
}

static bool
all_need_it(const Conversion *conversion)
{
	for (int i = 0; i < conversion->nlive; i++)
		if (conversion->live[i].needed != NULL)
			return false;
	return true;
}

/* A row whose predicate raises an error is one that fails, and will be told so. */
int64
migrate_range_count(const Range *range)
{
	Count		count = {range, 0};
	ErrorData  *error;

	if (all_need_it(range->conversion))
		return count_all(range);
	error = migrate_try(count_in_need, &count);
	if (error == NULL)
		return count.rows;
	if (migrate_try_is_about_server(error))
		ReThrowError(error);
	FreeErrorData(error);
	return count_all(range);
}
