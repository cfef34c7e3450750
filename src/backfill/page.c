/*
 * backfill/page.c
 *		A page of a heap, the stale rows in it and the room for new ones.
 *
 * How many rows of a page are converted in one visit.  A row for which there is
 * room in its page stays there: a HOT update, which no index hears of. One for
 * which there is none goes elsewhere, with an entry for every index. Of those
 * only a few are let pass, no more than about 4 % of the page's rows: the leaf
 * pages of a B-tree have about 10 % of free space when it was built, and one
 * that has to take more entries than that, before those of the old versions are
 * dead and can be deleted, is split for good. What the few leave behind becomes
 * room when nobody can see it any more, for HOT updates in the next visit. When
 * that suffices for all rows that are left, and to convert two of them at a time,
 * no more go elsewhere. Where an index changes with every conversion none is HOT, and
 * about 7 % are let pass.
 *
 * What is done to a page is what the server does to it, under the same locks.
 *
 * - Pruning is heap_page_prune_opt(), as when a page is read by any scan, with
 *   a pin and no lock held. It does nothing where another process has the page
 *   pinned; then the room is found the next time.
 * - That function passes over pages with 10 % of free space unless they are
 *   marked as full. Marking is what heap_update() does when a row found no room:
 *   PageSetFull() under the exclusive lock on the buffer, a hint that is not
 *   logged. Pruning takes it off. We do not mark the buffer as dirty for it: a
 *   hint that is lost is given again.
 * - Rows are looked at under the share lock. Their data stay where they are while
 *   the page is pinned, for to move them takes a lock that waits for pins.
 * - The free space map is told what there is, as VACUUM does.
 *
 * Which rows are stale needs no snapshot. HeapTupleSatisfiesUpdate() says
 * which versions are the newest, committed and not held by others, which is
 * what an UPDATE asks when it has found a row by its snapshot. A version that is
 * still being inserted is none of ours: it is at the target, or its writer has
 * recorded it (write/deferred.c).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/snapmgr.h"

#include "backfill/page.h"

/*
 * Of the rows of a page so many, in percent, may go elsewhere in one visit: where others
 * stay, or where all go.
 */
#define RELOCATED_AT_ONCE		4
#define ALL_RELOCATED_AT_ONCE	7

/* A page keeps room for so many rows while it is gone over. */
#define KEPT_ROOM	2

/* ---- versions ---- */

void
migrate_page_init_staleness(Staleness *staleness, Relation heap,
							const Conversion *conversion, int32 target)
{
	bool		isnull;
	Datum		value = getmissingattr(RelationGetDescr(heap), conversion->version_attno,
									   &isnull);

	staleness->attno = conversion->version_attno;
	staleness->target = target;
	staleness->absent = isnull ? PG_INT32_MIN : DatumGetInt32(value);
}

/* A row stored before the version column came is told by its length alone. */
int32
migrate_page_version(const Staleness *staleness, Relation heap, HeapTuple tuple)
{
	bool		isnull;
	Datum		value;

	if (HeapTupleHeaderGetNatts(tuple->t_data) < staleness->attno)
		return staleness->absent;
	value = heap_getattr(tuple, staleness->attno, RelationGetDescr(heap), &isnull);
	return isnull ? staleness->absent : DatumGetInt32(value);
}

/* ---- room ---- */

static bool
has_dead_rows(Relation heap, Page page)
{
	TransactionId prunable = ((PageHeader) page)->pd_prune_xid;

	return TransactionIdIsValid(prunable) &&
		GlobalVisTestIsRemovableXid(GlobalVisTestFor(heap), prunable);
}

static void
prune(Relation heap, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);

	if (!has_dead_rows(heap, page))
		return;
	if (!PageIsFull(page))
	{
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		PageSetFull(page);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	heap_page_prune_opt(heap, buffer);
}

/* Wide rows are cut down to this by having their values stored elsewhere. */
static Size
stored_length(Size length)
{
	return MAXALIGN(Min(length, TOAST_TUPLE_THRESHOLD));
}

/* Will all that is left find room one after another, as those before leave theirs? */
static bool
will_do_without(const PageVisit *visit, Size needed)
{
	int64		room = (int64) visit->room + visit->freed;
	int64		used = (int64) (visit->stale - 1) * Max(visit->growth, 0);

	return visit->freed > 0 && room >= used + KEPT_ROOM * (int64) needed;
}

bool
migrate_page_take(PageVisit *visit, const StaleRow *row, Size length)
{
	Size		needed = stored_length(length) + sizeof(ItemIdData);

	if (visit->can_be_hot && needed <= visit->room)
		visit->room -= needed;
	else if (visit->relocated >= visit->allowance ||
			 (visit->can_be_hot && visit->allowance < EVERY_ROW && will_do_without(visit, needed)))
		return false;
	else
		visit->relocated++;
	visit->freed += MAXALIGN(row->tuple.t_len);
	visit->stale--;
	return true;
}

/* ---- a visit ---- */

void
migrate_page_visit(PageVisit *visit, Relation heap, BlockNumber block, bool can_be_hot)
{
	memset(visit, 0, sizeof(PageVisit));
	visit->block = block;
	visit->can_be_hot = can_be_hot;
	visit->buffer = ReadBuffer(heap, block);
	prune(heap, visit->buffer);
}

void
migrate_page_leave(PageVisit *visit)
{
	ReleaseBuffer(visit->buffer);
}

/* How many rows like this one fill a page? */
static int
allowance_for(const PageVisit *visit, Size length)
{
	Size		rows = BLCKSZ / (stored_length(length) + sizeof(ItemIdData));
	int			percent = visit->can_be_hot ? RELOCATED_AT_ONCE : ALL_RELOCATED_AT_ONCE;

	return Max((rows * percent + 50) / 100, 1);
}

/* Is the row's version the newest, or may it come to be that again? */
static bool
is_current(HeapTuple tuple, Buffer buffer)
{
	TM_Result	state = HeapTupleSatisfiesUpdate(tuple, GetCurrentCommandId(false), buffer);

	return state == TM_Ok || state == TM_BeingModified;
}

static bool
is_stale(const Staleness *staleness, Relation heap, Buffer buffer, StaleRow *row)
{
	row->version = migrate_page_version(staleness, heap, &row->tuple);
	return row->version < staleness->target && is_current(&row->tuple, buffer);
}

/* The row at a line pointer of a page that is locked; false where there is none. */
static bool
get_row(PageVisit *visit, Relation heap, OffsetNumber offset, StaleRow *row)
{
	Page		page = BufferGetPage(visit->buffer);
	ItemId		item = PageGetItemId(page, offset);

	if (!ItemIdIsNormal(item))
		return false;
	row->tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
	row->tuple.t_len = ItemIdGetLength(item);
	row->tuple.t_tableOid = RelationGetRelid(heap);
	ItemPointerSet(&row->tuple.t_self, visit->block, offset);
	row->formed = NULL;
	row->prune = row->referenced = false;
	return true;
}

static int
count_rows(PageVisit *visit, Relation heap, const Staleness *staleness, OffsetNumber first)
{
	StaleRow	row;
	int			count = 0;

	for (OffsetNumber offset = first; offset <= visit->line_pointers; offset++)
		if (get_row(visit, heap, offset, &row) &&
			migrate_page_version(staleness, heap, &row.tuple) < staleness->target)
			count++;
	return count;
}

static int
find_rows(PageVisit *visit, Relation heap, const Staleness *staleness,
		  OffsetNumber first, int max, StaleRow *rows)
{
	PageVisit	foreseen = *visit;
	OffsetNumber offset;
	int			found = 0;

	for (offset = first; offset <= visit->line_pointers; offset++)
	{
		StaleRow   *row = &rows[found];

		if (found == max)
			break;
		if (!get_row(visit, heap, offset, row) ||
			!is_stale(staleness, heap, visit->buffer, row))
			continue;
		if (visit->allowance == 0)
			foreseen.allowance = visit->allowance = allowance_for(visit, row->tuple.t_len);
		if (!migrate_page_take(&foreseen, row, row->tuple.t_len + visit->growth))
			break;
		found++;
	}
	visit->next = offset <= visit->line_pointers ? offset : InvalidOffsetNumber;
	return found;
}

int
migrate_page_find(PageVisit *visit, Relation heap, const Staleness *staleness,
				  OffsetNumber first, int max, StaleRow *rows)
{
	Page		page = BufferGetPage(visit->buffer);
	int			found;

	LockBuffer(visit->buffer, BUFFER_LOCK_SHARE);
	visit->line_pointers = PageGetMaxOffsetNumber(page);
	visit->room = PageGetHeapFreeSpace(page);
	if (visit->room > 0)
		visit->room += sizeof(ItemIdData);
	if (visit->stale == 0)
		visit->stale = count_rows(visit, heap, staleness, first);
	found = find_rows(visit, heap, staleness, first, max, rows);
	LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);
	return found;
}

void
migrate_page_tidy(Relation heap, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(heap, block);
	Size		room;

	prune(heap, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	room = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	RecordPageWithFreeSpace(heap, block, room);
}
