/*
 * backfill/pump.c
 *		Which blocks of a heap come next.
 *
 * Converting every row of a table as an UPDATE does doubles the table and its indexes,
 * and that is what takes the time. Here a window of blocks is gone over in
 * passes. Each converts a few rows per page and commits; when nobody can
 * see their old versions any more, the server prunes these from the page, and the
 * next pass puts its rows into the room that they leave (page.c). So most updates
 * are HOT, and the table ends at the size that it would have if it were rewritten.
 *
 * Between two passes of a window the horizon (horizon.c) has to pass the first,
 * else the second finds no room. Under traffic that takes as long as the
 * longest transaction, so some windows are open at a time. Where all of
 * them wait we wait, and name who is in the way, unless migrate.wait_for_horizon
 * is off. All windows at a table together are a part of shared_buffers: what a pass reads
 * is there from the pass before it. Only where the horizon stands still for long are more
 * opened, up to a part of the memory that the system has for files.
 *
 * A window whose rows are all converted is tidied when the horizon has passed it:
 * pages are pruned once more, and what room they have is entered in the free
 * space map, for rows that do not find any in the windows to come.
 *
 * Why going once over the blocks [0, n), n being the heap's size when the round began,
 * meets every stale row: from the commit of expand on, every version of a row that
 * anyone stores is at the target (the trigger stamps it, the CHECK refuses
 * what bypasses the trigger), and expand waited for all who were writing. So a
 * stale row version is one that existed then, in a block that existed then,
 * and it does not move: what replaces it is converted. TRUNCATE, VACUUM FULL
 * and CLUSTER give the heap another file, which is noticed (progress.c).
 *
 * Where writes may be deferred a stale row can be stored at any time, and in any
 * place. Those are recorded by who stores them (write/deferred.c), and whether
 * one is left is not the scan's to say.
 *
 * A stale row that somebody holds (updates, deletes or locks in a transaction that
 * has not ended, prepared ones included) is left behind and counted: if that
 * transaction aborts the row is as stale as before, so another round comes back
 * to its block.
 *
 * What the pump knows is in the session's memory alone. The progress in the catalog,
 * written by the transactions that convert, is the first block that is not
 * behind us, and what was left in those that are. Where that is not as this
 * session has left it, because its last step did not commit or another session
 * has gone on, it begins there: rows that are converted are passed over, and a
 * page whose space is not free yet grows by a few rows more.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/memutils.h"

#include "backfill/horizon.h"
#include "backfill/page.h"
#include "backfill/pump.h"
#include "catalog/failure.h"

/* The blocks of a window as a part of shared_buffers; a fourth of those are eight windows. */
#define SHARE_OF_WINDOW		32

/* Those that are, where the horizon stands still, as a part of effective_cache_size. */
#define SHARE_OF_MEMORY		4

#define MIN_WINDOW_BLOCKS	32

/* ---- whether it is where it was ---- */

static Pump *
find_pump(List *pumps, const Part *part)
{
	ListCell   *lc;

	foreach(lc, pumps)
	{
		Pump	   *pump = lfirst(lc);

		if (pump->part.heap == part->heap && pump->part.first == part->first)
			return pump;
	}
	return NULL;
}

void
migrate_pump_forget(List **pumps, const Part *part)
{
	Pump	   *pump = find_pump(*pumps, part);

	if (pump == NULL)
		return;
	*pumps = list_delete_ptr(*pumps, pump);
	MemoryContextDelete(pump->context);
}

/*
 * Asked as soon as the next step begins: the server does not know for ever what became of
 * a transaction, and it may be long until a pump's turn comes.
 */
void
migrate_pump_settle(List **pumps)
{
	ListCell   *lc;

	foreach(lc, *pumps)
	{
		Pump	   *pump = lfirst(lc);
		bool		committed = !TransactionIdIsValid(pump->writer) ||
			TransactionIdDidCommit(pump->writer);

		pump->writer = InvalidTransactionId;
		if (committed)
			continue;
		*pumps = foreach_delete_current(*pumps, lc);
		MemoryContextDelete(pump->context);
	}
}

static bool
is_as_left(const Pump *pump, const Progress *progress)
{
	return pump->filenode == progress->filenode &&
		pump->round == progress->round &&
		pump->frontier == progress->next_block;
}

static Pump *
make_pump(const Progress *progress, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "migrate pump", ALLOCSET_DEFAULT_SIZES);
	Pump	   *pump = MemoryContextAllocZero(context, sizeof(Pump));

	pump->context = context;
	pump->part = progress->part;
	pump->filenode = progress->filenode;
	pump->round = progress->round;
	pump->opened = pump->frontier = progress->next_block;
	return pump;
}

Pump *
migrate_pump_get(List **pumps, const Progress *progress, MemoryContext context)
{
	Pump	   *pump = find_pump(*pumps, &progress->part);
	MemoryContext old = MemoryContextSwitchTo(context);
	ListCell   *lc;

	if (pump != NULL && !is_as_left(pump, progress))
	{
		migrate_pump_forget(pumps, &progress->part);
		pump = NULL;
	}
	if (pump == NULL)
	{
		pump = make_pump(progress, context);
		*pumps = lappend(*pumps, pump);
	}
	MemoryContextSwitchTo(old);
	/* From here on what it knows is true only if this transaction commits. */
	pump->writer = GetTopTransactionId();
	pump->end = progress->end_block;
	foreach(lc, pump->open)
		migrate_window_clamp(lfirst(lc), pump->end);
	pump->opened = Min(pump->opened, pump->end);
	return pump;
}

/* ---- windows ---- */

static int
window_blocks(void)
{
	return Max(Min(NBuffers / SHARE_OF_WINDOW, MAX_WINDOW_BLOCKS), MIN_WINDOW_BLOCKS);
}

int
migrate_pump_windows_in_memory(void)
{
	return effective_cache_size / SHARE_OF_MEMORY / window_blocks();
}

int
migrate_pump_count_windows(List *pumps)
{
	int			count = 0;
	ListCell   *lc;

	foreach(lc, pumps)
		count += list_length(((Pump *) lfirst(lc))->open);
	return count;
}

static Window *
open_window(Pump *pump)
{
	MemoryContext old = MemoryContextSwitchTo(pump->context);
	Window	   *window = palloc(sizeof(Window));
	BlockNumber to = Min(pump->end, pump->opened + window_blocks());

	migrate_window_begin(window, pump->opened, to);
	window->before = migrate_failure_snapshot();
	pump->open = lappend(pump->open, window);
	pump->opened = to;
	MemoryContextSwitchTo(old);
	return window;
}

/* In the middle of a pass there is nothing to wait for. */
static bool
is_due(const Window *window, Relation heap)
{
	return window->unfinished > 0 &&
		(window->at > window->from || migrate_horizon_has_passed(heap, window->last_writer));
}

/* The first that is not finished; there is one if any is open. */
static Window *
first_unfinished(const Pump *pump)
{
	ListCell   *lc;

	foreach(lc, pump->open)
		if (((Window *) lfirst(lc))->unfinished > 0)
			return lfirst(lc);
	return NULL;
}

Window *
migrate_pump_choose(Pump *pump, Relation heap, bool may_open, bool may_wait,
					TransactionId *held_by)
{
	Window	   *first = first_unfinished(pump);
	ListCell   *lc;

	*held_by = InvalidTransactionId;
	foreach(lc, pump->open)
		if (is_due(lfirst(lc), heap))
			return lfirst(lc);
	if (pump->opened < pump->end && (may_open || first == NULL))
		return open_window(pump);
	if (first == NULL || !may_wait)
		return first;
	*held_by = first->last_writer;
	return NULL;
}

/* ---- out of turn ---- */

/* What is farther away than a Bitmapset can tell is tried each time. */
static bool
can_be_noted(const Pump *pump, BlockNumber block)
{
	return block - pump->part.first <= PG_INT32_MAX / 2;
}

/*
 * Such a block may be read, and noted, all the time. To try its rows again and again would
 * leave dead rows behind each time, where it is the storing that fails, and others no turn.
 */
void
migrate_pump_note_in_vain(Pump *pump, BlockNumber block)
{
	MemoryContext old = MemoryContextSwitchTo(pump->context);

	if (can_be_noted(pump, block))
		pump->in_vain = bms_add_member(pump->in_vain, block - pump->part.first);
	MemoryContextSwitchTo(old);
}

bool
migrate_pump_is_in_vain(const Pump *pump, BlockNumber block)
{
	return can_be_noted(pump, block) &&
		bms_is_member(block - pump->part.first, pump->in_vain);
}

/* ---- after windows ---- */

static void
tidy_window(const Window *window, Relation heap)
{
	BlockNumber end = Min(window->to, RelationGetNumberOfBlocks(heap));

	for (BlockNumber block = window->from; block < end; block++)
	{
		CHECK_FOR_INTERRUPTS();
		migrate_page_tidy(heap, block);
	}
	if (window->from < end)
		FreeSpaceMapVacuumRange(heap, window->from, end);
}

void
migrate_pump_tidy(Pump *pump, Relation heap)
{
	ListCell   *lc;

	foreach(lc, pump->used)
	{
		Window	   *window = lfirst(lc);

		if (!migrate_horizon_has_passed(heap, window->last_writer))
			continue;
		tidy_window(window, heap);
		pump->used = foreach_delete_current(pump->used, lc);
		pfree(window);
	}
}

/* Its space is not to be had yet, if it had any rows to convert. */
static void
retire(Pump *pump, Window *window)
{
	pfree(window->before);
	if (TransactionIdIsValid(window->last_writer))
		pump->used = lappend(pump->used, window);
	else
		pfree(window);
}

/*
 * Of rows that others held it is not known whether they fail: what is recorded of them
 * stays, with all that lies between them, for the next round comes back there.
 */
static void
forget_tried(const Pump *pump, const Window *window)
{
	bool		any_held = window->left.skipped > 0;
	BlockNumber end = any_held ? window->left.from : window->to;
	BlockNumber next = any_held ? window->left.to : window->to;

	migrate_failure_forget_tried(pump->part.heap, window->from, end, window->before, NIL);
	if (next < window->to)
		migrate_failure_forget_tried(pump->part.heap, next, window->to, window->before, NIL);
}

static void
pass_finished(Pump *pump, Left *left)
{
	MemoryContext old = MemoryContextSwitchTo(pump->context);

	while (pump->open != NIL)
	{
		Window	   *window = linitial(pump->open);

		if (window->unfinished > 0)
			break;
		forget_tried(pump, window);
		migrate_window_add_left(left, &window->left);
		pump->open = list_delete_first(pump->open);
		retire(pump, window);
	}
	MemoryContextSwitchTo(old);
}

/* The last windows are tidied in a step of their own, when the one before has committed. */
bool
migrate_pump_advance(Pump *pump, BlockNumber *next, int64 *ahead, Left *left)
{
	bool		had_work = pump->open != NIL;
	double		done = 0;
	ListCell   *lc;

	pass_finished(pump, left);
	foreach(lc, pump->open)
		done += ((Window *) lfirst(lc))->done;
	*ahead = (int64) done;
	*next = pump->open != NIL ? ((Window *) linitial(pump->open))->from : pump->opened;
	pump->frontier = *next;
	return *next >= pump->end && !(had_work && pump->used != NIL);
}
