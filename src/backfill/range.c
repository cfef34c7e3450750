/*
 * backfill/range.c
 *		Moving the stale rows of a range of blocks, in the caller's transaction.
 *
 * Why a scan of [0, n), n being the heap's size when the scan began, meets
 * every stale row: from the commit of expand on, every version of a row that
 * anyone stores is at the target (the trigger stamps it, the CHECK refuses
 * what bypasses the trigger), and expand waited for all who were writing. So a
 * stale row version is one that existed then, in a block that existed then,
 * and it does not move: what replaces it is converted. TRUNCATE, VACUUM FULL
 * and CLUSTER give the heap another file, which the caller notices.
 *
 * Where writes may be deferred a stale row can be stored at any time, and in any
 * block. Those are recorded by who stores them (write/deferred.c), and whether
 * one is left is not the scan's to say.
 *
 * Snapshots.  The range is read with a snapshot of its own. A row that it does
 * not see was inserted since expand, hence is converted or recorded; one that it sees
 * although it was updated since is told by table_tuple_update. A stale row
 * that somebody holds (updates, deletes or locks in a transaction that has not
 * ended, prepared ones included) is left behind and counted: if that
 * transaction aborts the row is as stale as before, so the caller must come
 * back to its block.
 *
 * What is converted commits with the caller's record of it; a crash takes
 * back both.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/mover.h"
#include "backfill/range.h"
#include "catalog/try.h"
#include "convert/converter.h"

/* ---- reading the range ---- */

typedef struct RangeScan
{
	const Range *range;
	TableScanDesc scan;
	TupleTableSlot *slot;
	int32		absent;			/* the version of rows stored before the column was */
} RangeScan;

static int32
absent_version(const Range *range)
{
	bool		isnull;
	Datum		value = getmissingattr(RelationGetDescr(range->heap),
									   range->conversion->version_attno, &isnull);

	return isnull ? PG_INT32_MIN : DatumGetInt32(value);
}

static void
range_begin(RangeScan *scan, const Range *range)
{
	ItemPointerData first;
	ItemPointerData last;

	ItemPointerSet(&first, range->from, FirstOffsetNumber);
	ItemPointerSet(&last, range->to - 1, MaxOffsetNumber);
	scan->range = range;
	scan->absent = absent_version(range);
	scan->slot = table_slot_create(range->heap, NULL);
	scan->scan = table_beginscan_tidrange(range->heap, GetActiveSnapshot(), &first, &last);
}

static void
range_end(RangeScan *scan)
{
	table_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
}

/* A row stored before the version column came is told by its length alone. */
static int32
stored_version(TupleTableSlot *slot, AttrNumber attno, int32 absent)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
	bool		isnull;
	Datum		value;

	if (HeapTupleHeaderGetNatts(tuple->t_data) < attno)
		return absent;
	value = slot_getattr(slot, attno, &isnull);
	return isnull ? absent : DatumGetInt32(value);
}

/* The next stale row, with its version; false at the range's end. */
static bool
range_next(RangeScan *scan, int32 *version)
{
	while (table_scan_getnextslot_tidrange(scan->scan, ForwardScanDirection, scan->slot))
	{
		CHECK_FOR_INTERRUPTS();
		*version = stored_version(scan->slot, scan->range->conversion->version_attno,
								  scan->absent);
		if (*version < scan->range->target)
			return true;
	}
	return false;
}

List *
migrate_range_find(const Range *range)
{
	RangeScan	scan;
	int32		version;
	List	   *found = NIL;

	range_begin(&scan, range);
	while (range_next(&scan, &version))
	{
		ItemPointer tid = palloc(sizeof(ItemPointerData));

		*tid = scan.slot->tts_tid;
		found = lappend(found, tid);
	}
	range_end(&scan);
	return found;
}

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

/* ---- moving its rows ---- */

void
migrate_range_start(const Range *range, RangeResult *result)
{
	memset(result, 0, sizeof(RangeResult));
	result->next = range->from;
	result->at = range->from;
}

void
migrate_range_leave(RangeResult *result, BlockNumber block)
{
	bool		is_first = result->left_from == result->left_to;

	if (is_first || block < result->left_from)
		result->left_from = block;
	if (is_first || block >= result->left_to)
		result->left_to = block + 1;
}

bool
migrate_range_is_time_up(const Range *range)
{
	return (range->stop != NULL && *range->stop) ||
		(range->deadline != 0 && GetCurrentTimestamp() >= range->deadline) ||
		(range->meter != NULL && migrate_meter_interrupts(range->meter, range->heap));
}

static bool
is_enough(const Range *range, const RangeResult *result)
{
	return range->max_rows > 0 && result->converted >= range->max_rows;
}

/* Move one row; an error leaves behind whose expression raised it. */
static void
move_row(Mover *mover, TupleTableSlot *row, int32 version, RangeResult *result)
{
	MoveResult	moved;

	PG_TRY();
	{
		moved = migrate_mover_move(mover, row, version);
	}
	PG_CATCH();
	{
		result->culprit = migrate_mover_culprit(mover);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (moved == MOVE_DONE)
		result->converted++;
	else if (moved == MOVE_LOCKED)
	{
		result->skipped++;
		migrate_range_leave(result, ItemPointerGetBlockNumberNoCheck(&row->tts_tid));
	}
}

void
migrate_range_convert(const Range *range, RangeResult *result)
{
	RangeScan	scan;
	Mover	   *mover = migrate_mover_open(range->heap, range->conversion);
	int32		version;
	bool		complete = true;

	range_begin(&scan, range);
	while (range_next(&scan, &version))
	{
		BlockNumber block = ItemPointerGetBlockNumber(&scan.slot->tts_tid);
		bool		is_new_block = block != result->at;

		result->at = block;
		if (is_enough(range, result) || (is_new_block && migrate_range_is_time_up(range)))
		{
			complete = false;
			break;
		}
		move_row(mover, scan.slot, version, result);
	}
	result->next = complete ? range->to : result->at;
	range_end(&scan);
	migrate_mover_close(mover);
}

void
migrate_range_convert_row(const Range *range, ItemPointer tid, RangeResult *result)
{
	TupleTableSlot *slot = table_slot_create(range->heap, NULL);
	Mover	   *mover = migrate_mover_open(range->heap, range->conversion);

	if (table_tuple_fetch_row_version(range->heap, tid, GetActiveSnapshot(), slot))
	{
		int32		version = stored_version(slot, range->conversion->version_attno,
											 absent_version(range));

		if (version < range->target)
			move_row(mover, slot, version, result);
	}
	migrate_mover_close(mover);
	ExecDropSingleTupleTableSlot(slot);
}
