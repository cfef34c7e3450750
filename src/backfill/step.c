/*
 * backfill/step.c
 *		The backfill of one managed table, a transaction's worth at a time.
 *
 * It knows nothing of processes: a background worker and CALL migrate.run()
 * both take step after step, also at the same time, each in a transaction of
 * its own. A step holds no state that matters beyond it; what is to be done
 * is read from the catalog each time.
 *
 * Locks of a step, in this order: AccessShareLock on the managed table and
 * RowExclusiveLock on one heap, neither of them waited for (where expand,
 * TRUNCATE or the like has the table, we come again), then the row in
 * migrate.backfill of a part of it, then rows of the heap (mover.c). All are held
 * to the step's end, which target_batch_time puts near.
 *
 * Several sessions at a table, workers and others, share its parts (part.c) evenly: none
 * keeps more than that, so that whoever comes finds one, and divides one where there are too few.
 * They share its limits evenly, too (throttle.c). How many there are is seen anew before each
 * batch (shmem.c); so all together do no more than one alone might, but for the one
 * batch that each has begun when another comes.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "backfill/attempt.h"
#include "backfill/horizon.h"
#include "backfill/meter.h"
#include "backfill/mover.h"
#include "backfill/part.h"
#include "backfill/progress.h"
#include "backfill/pump.h"
#include "backfill/range.h"
#include "backfill/step.h"
#include "backfill/throttle.h"
#include "catalog/failure.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "guc.h"
#include "shmem.h"

/* Windows that the sessions at a table have open at once; some for each. */
#define MAX_OPEN_WINDOWS		8
#define MIN_OPEN_WINDOWS		2

/* So often the horizon is waited for without asking who holds it back. */
#define QUIET_HORIZON_WAITS		5

/* How long to wait before another look at a lock, in milliseconds. */
#define LOCK_WAIT				100

/* Up to this many blocks stale rows are counted, beyond they are estimated. */
#define MAX_BLOCKS_TO_COUNT		1024

#define HELD_BY_ROW_LOCKS	"locked rows"
#define HELD_BY_OTHER		"another session at work"
#define HELD_BY_ARCHIVE_LOCK	"a lock on the archive"

void
migrate_backfill_init(Backfill *backfill, Oid root)
{
	memset(backfill, 0, sizeof(Backfill));
	backfill->root = root;
	backfill->context = CurrentMemoryContext;
	migrate_shmem_convert(root);
}

void
migrate_backfill_end(Backfill *backfill)
{
	while (backfill->kept != NIL)
		migrate_part_leave(&backfill->kept, linitial(backfill->kept));
	migrate_shmem_convert(InvalidOid);
}

static void
wait_for(Backfill *backfill, const char *what, long pause)
{
	strlcpy(backfill->held_by, what, sizeof(backfill->held_by));
	backfill->pause = pause;
}

void
migrate_backfill_hold(Backfill *backfill, const char *held_by, long pause)
{
	wait_for(backfill, held_by ? held_by : "", pause);
	migrate_progress_set_held_by(backfill->root, held_by);
}

/* Lock a relation, if it still exists and nobody is in the way. */
static bool
lock_relation(Oid relid, LOCKMODE mode, bool *exists)
{
	if (!ConditionalLockRelationOid(relid, mode))
	{
		*exists = true;
		return false;
	}
	*exists = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
	return *exists;
}

/* The conversion of a table that has work left, else NULL. */
static Conversion *
incomplete_conversion(Oid root)
{
	Conversion *conversion = migrate_conversion_get(root);

	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
		if (!conversion->live[i].complete)
			return conversion;
	return NULL;
}

static int32
target_version(const Conversion *conversion)
{
	return conversion->live[conversion->nlive - 1].version;
}

/* ---- a batch ---- */

static void
init_batch(Batch *batch, Backfill *backfill, Relation heap, Conversion *conversion)
{
	long		batch_time;

	memset(batch, 0, sizeof(Batch));
	batch->heap = heap;
	batch->conversion = conversion;
	migrate_page_init_staleness(&batch->staleness, heap, conversion, target_version(conversion));
	batch->stop = backfill->stop;
	batch->meter = &backfill->meter;
	migrate_meter_begin(batch->meter, backfill->rows_left, &batch->rows_left, &batch_time);
	batch->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), batch_time);
}

/* Of a page that has no room for all of its rows some are taken up again. */
static AttemptResult
convert_block(Batch *batch, BlockNumber block)
{
	AttemptResult result;
	int64		before;

	do
	{
		before = batch->converted;
		result = migrate_attempt_block(batch, block);
	} while (result == ATTEMPT_UNFINISHED && batch->converted > before &&
			 !migrate_attempt_is_over(batch));
	return result;
}

/*
 * Blocks that reads have noted come before the others, out of turn: the round
 * comes by there all the same, and deals with what is left behind. One that is
 * not finished for lack of rows allowed goes on being noted. None is taken up twice in
 * a batch, for rows that others hold may be read, and noted, all the time; and one in which
 * rows fail not before the round comes by.
 */
static void
convert_noted(Batch *batch, const Progress *progress, Pump *pump)
{
	Oid			heap_oid = RelationGetRelid(batch->heap);
	BlockNumber block;
	int			place = 0;

	while (!migrate_attempt_is_over(batch) &&
		   migrate_shmem_take_noted_block(heap_oid, progress->part.first, progress->next_block,
										  progress->end_block, &place, &block))
	{
		if (migrate_pump_is_in_vain(pump, block))
			continue;
		switch (convert_block(batch, block))
		{
			case ATTEMPT_DONE:
				break;
			case ATTEMPT_UNFINISHED:
				migrate_shmem_note_block(heap_oid, block);
				break;
			case ATTEMPT_FAILED:
				migrate_pump_note_in_vain(pump, block);
				break;
		}
	}
	batch->repaired = batch->converted;
}

/*
 * Is there a place for one more window among those that the session has open? Who has
 * waited in vain for a while may have more of them: a standby says only every ten seconds
 * (wal_receiver_status_interval) what it can still see, and what is done meanwhile is
 * done, at the price that its blocks are read again when their turn comes.
 */
static bool
may_open_window(const Backfill *backfill)
{
	int			all = MAX_OPEN_WINDOWS;
	int			most;

	if (backfill->horizon_waits > QUIET_HORIZON_WAITS)
		all = Max(all, migrate_pump_windows_in_memory());
	most = all / backfill->sessions;
	return migrate_pump_count_windows(backfill->pumps) < Max(most, MIN_OPEN_WINDOWS);
}

/*
 * Others can still see what was converted last: wait, and say who, if it takes long.
 * False where there is nobody but who waits for us.
 */
static bool
wait_for_horizon(Backfill *backfill, TransactionId xid)
{
	int			waits = backfill->horizon_waits++;
	char	   *holder = NULL;

	if (waits >= QUIET_HORIZON_WAITS && (holder = migrate_horizon_holder(xid)) == NULL)
		return false;
	wait_for(backfill, holder ? holder : "", Min(1L << Min(waits, 10), LOCK_WAIT));
	return true;
}

/*
 * What is left of the batch goes on where the round is. False if that has to wait for the
 * horizon.
 */
static bool
convert_next(Backfill *backfill, Batch *batch, Pump *pump)
{
	bool		may_open = may_open_window(backfill);
	TransactionId held_by;
	Window	   *window;

	migrate_pump_tidy(pump, batch->heap);
	window = migrate_pump_choose(pump, batch->heap, may_open, migrate_guc_wait_for_horizon,
								 &held_by);
	if (!TransactionIdIsValid(held_by))
		backfill->horizon_waits = 0;
	else if (wait_for_horizon(backfill, held_by))
		return false;
	else
		window = migrate_pump_choose(pump, batch->heap, may_open, false, &held_by);
	if (window != NULL && !migrate_attempt_is_over(batch))
		migrate_attempt_pass(batch, window);
	return true;
}

/*
 * More sessions are here than parts: what has not been begun with is halved. Not
 * what a later round comes back to, which is little, most times.
 */
static void
divide(Backfill *backfill, Progress *progress, Pump *pump)
{
	BlockNumber blocks = pump->end - pump->opened;

	if (backfill->parts >= backfill->sessions || progress->round > 1 ||
		blocks / 2 < migrate_part_min_blocks())
		return;
	migrate_progress_divide(progress, pump->end - blocks / 2);
	pump->end = progress->end_block;
	backfill->parts++;
}

/* Returns the phase that the part is in then; NULL where it waits. */
static const char *
convert_batch(Backfill *backfill, Relation heap, Conversion *conversion, Progress *progress)
{
	Pace	   *pace = &backfill->meter.pace;
	Batch		batch;
	Pruner	   *pruner;
	Pump	   *pump;
	BlockNumber next;
	int64		ahead;
	Left		left = {0};
	bool		is_over;
	bool		goes_on;
	const char *phase;

	migrate_mover_check(heap, conversion);
	migrate_progress_adjust(progress, heap);
	if (!migrate_pruner_open(&pruner, heap, conversion))
	{
		wait_for(backfill, HELD_BY_ARCHIVE_LOCK, LOCK_WAIT);
		return NULL;
	}
	init_batch(&batch, backfill, heap, conversion);
	batch.pruner = pruner;
	pump = migrate_pump_get(&backfill->pumps, progress, backfill->context);
	divide(backfill, progress, pump);
	convert_noted(&batch, progress, pump);
	goes_on = convert_next(backfill, &batch, pump);
	is_over = migrate_pump_advance(pump, &next, &ahead, &left);
	backfill->converted = batch.converted;
	backfill->failed = batch.failed;
	if (!goes_on && batch.converted == 0)
		return NULL;

	migrate_meter_end(&backfill->meter, heap, batch.converted);
	wait_for(backfill, migrate_throttle_name(pace->reason), pace->rest);
	phase = migrate_progress_advance(progress, &batch, next, ahead, &left, is_over);
	if (strcmp(phase, PHASE_CONVERTING) != 0)
		migrate_pump_forget(&backfill->pumps, &progress->part);
	return phase;
}

/* A heap that starts, for whatever reason, is not divided. */
static const char *
convert_batch_if_whole(Backfill *backfill, Relation heap, Conversion *conversion,
					   Progress *progress)
{
	JoinResult	joined = JOIN_ONE;

	if (migrate_progress_starts(progress, heap))
		joined = migrate_progress_join(RelationGetRelid(heap));
	switch (joined)
	{
		case JOIN_ONE:
			return convert_batch(backfill, heap, conversion, progress);
		case JOIN_DONE:
			return PHASE_CONVERTING;
		case JOIN_BLOCKED:
			break;
	}
	wait_for(backfill, HELD_BY_OTHER, LOCK_WAIT);
	return NULL;
}

/* A partition may have been detached since the heaps were noted. */
static const char *
convert_batch_if_ours(Backfill *backfill, Relation heap, Progress *progress)
{
	Conversion *conversion = migrate_conversion_get(RelationGetRelid(heap));

	if (conversion != NULL && conversion->root == backfill->root)
		return convert_batch_if_whole(backfill, heap, conversion, progress);
	migrate_progress_drop(progress->part.heap);
	return PHASE_CONVERTING;
}

/* Do a batch of a part; NULL where others are in the way, else its phase then. */
static const char *
try_part(Backfill *backfill, const Part *part)
{
	Progress	progress;
	Relation	heap;
	bool		exists;
	const char *phase;

	if (!lock_relation(part->heap, RowExclusiveLock, &exists))
	{
		wait_for(backfill, exists ? HELD_BY_TABLE_LOCK : "", LOCK_WAIT);
		return NULL;
	}
	if (!migrate_progress_claim(part, PHASE_CONVERTING, &progress))
	{
		wait_for(backfill, HELD_BY_OTHER, LOCK_WAIT);
		return NULL;
	}
	heap = table_open(part->heap, NoLock);
	phase = convert_batch_if_ours(backfill, heap, &progress);
	table_close(heap, NoLock);
	return phase;
}

/* ---- rounds ---- */

/*
 * Nothing is left to convert but rows that others held when we came by: wait
 * before the next round, the longer the more rounds were in vain.
 */
static BackfillStatus
end_round(Backfill *backfill)
{
	int			round = migrate_progress_last_round(backfill->root);

	backfill->parts = 0;
	wait_for(backfill, HELD_BY_ROW_LOCKS, migrate_throttle_round(round));
	return BACKFILL_WAITING;
}

/* Is the server, or the operator, to be waited for before a batch? */
static bool
is_held_up(Backfill *backfill)
{
	long		wait;
	ThrottleReason reason = migrate_meter_hold(&backfill->meter, backfill->root, &wait);

	if (reason == THROTTLE_NONE)
		return false;
	wait_for(backfill, migrate_throttle_name(reason), wait);
	return true;
}

/* ---- parts ---- */

/* As many as are ours if all sessions have about the same. */
static int
fair_share(const Backfill *backfill)
{
	return Max((backfill->parts + backfill->sessions - 1) / backfill->sessions, 1);
}

/* Leave parts that are done, and such as are due to sessions that have come. */
static void
keep_to_share(Backfill *backfill, const List *parts)
{
	List	   *kept = list_copy(backfill->kept);
	int			share;
	int			n = 0;
	ListCell   *lc;

	backfill->parts = list_length(parts);
	share = backfill->sessions > 1 ? fair_share(backfill) : INT_MAX;
	foreach(lc, kept)
	{
		Part		part = *(Part *) lfirst(lc);

		if (migrate_part_is_among(&part, parts) && ++n <= share)
			continue;
		migrate_pump_forget(&backfill->pumps, &part);
		migrate_part_leave(&backfill->kept, &part);
	}
}

/* Is it ours, or can it be? */
static bool
keep(Backfill *backfill, const Part *part)
{
	if (migrate_part_is_among(part, backfill->kept))
		return true;
	if (backfill->sessions > 1 && list_length(backfill->kept) >= fair_share(backfill))
		return false;
	return migrate_part_keep(&backfill->kept, part, backfill->context);
}

/*
 * Work on the first part that can be worked on; the phase that it is in then,
 * NULL if there is none. Those that are ours, or those that are not.
 */
static const char *
try_parts(Backfill *backfill, const List *parts, bool ours)
{
	const char *phase = NULL;
	ListCell   *lc;

	foreach(lc, parts)
	{
		const Part *part = lfirst(lc);

		if (ours ? !keep(backfill, part) : migrate_part_is_among(part, backfill->kept))
			continue;
		if ((phase = try_part(backfill, part)) != NULL)
			break;
	}
	return phase;
}

static BackfillStatus
convert_some(Backfill *backfill, List *parts)
{
	const char *phase;

	if (is_held_up(backfill))
		return BACKFILL_WORKED;
	wait_for(backfill, "", LOCK_WAIT);	/* where others are at all of them */
	phase = try_parts(backfill, parts, true);
	/* Who has a part that waits, for the horizon most times, would only get in others' way. */
	if (phase == NULL && backfill->takes_turns && backfill->kept == NIL)
		phase = try_parts(backfill, parts, false);
	if (phase == NULL)
		return BACKFILL_WAITING;
	if (strcmp(phase, PHASE_WAITING) == 0 &&
		migrate_progress_parts(backfill->root, PHASE_CONVERTING) == NIL)
		return end_round(backfill);
	return BACKFILL_WORKED;
}

/* Those of heaps in which a read has noted a block come first. */
static List *
noted_first(List *parts)
{
	List	   *noted = NIL;
	List	   *others = NIL;
	ListCell   *lc;

	foreach(lc, parts)
	{
		Part	   *part = lfirst(lc);

		if (migrate_shmem_has_noted_block(part->heap))
			noted = lappend(noted, part);
		else
			others = lappend(others, part);
	}
	return list_concat(noted, others);
}

static BackfillStatus
next_thing(Backfill *backfill, int32 target)
{
	List	   *parts = migrate_progress_parts(backfill->root, PHASE_CONVERTING);

	keep_to_share(backfill, parts);
	if (parts == NIL && backfill->only_helps)
		return BACKFILL_NOTHING;
	if (parts == NIL)
		parts = migrate_progress_next_round(backfill->root);
	if (parts != NIL)
		return convert_some(backfill, noted_first(parts));

	/* Before the end is believed: has a partition been attached? */
	if (migrate_progress_sync(backfill->root, target) > 0)
		return BACKFILL_WORKED;
	if (migrate_progress_revive(backfill->root) > 0)
		return BACKFILL_WORKED;
	parts = migrate_progress_parts(backfill->root, PHASE_FAILED);
	return parts != NIL ? BACKFILL_FAILED : BACKFILL_SCANNED;
}

static void
count_sessions(Backfill *backfill)
{
	backfill->sessions = Max(migrate_shmem_count_converters(backfill->root), 1);
	backfill->meter.sharers = backfill->sessions;
}

static BackfillStatus
take_step(Backfill *backfill)
{
	Conversion *conversion;
	bool		exists;

	backfill->converted = 0;
	backfill->failed = 0;
	backfill->parts = 0;
	count_sessions(backfill);
	wait_for(backfill, "", 0);
	if (!lock_relation(backfill->root, AccessShareLock, &exists))
	{
		if (!exists)
			return BACKFILL_NOTHING;
		wait_for(backfill, HELD_BY_TABLE_LOCK, LOCK_WAIT);
		return BACKFILL_WAITING;
	}
	conversion = incomplete_conversion(backfill->root);
	if (conversion == NULL)
		return BACKFILL_NOTHING;
	if (backfill->target != target_version(conversion) && !backfill->only_helps)
	{
		backfill->target = target_version(conversion);
		migrate_progress_sync(backfill->root, backfill->target);
	}
	return next_thing(backfill, backfill->target);
}

/* Where several are at work, each speaks of its own parts. */
static void
report_held_by(const Backfill *backfill, const char *held_by)
{
	ListCell   *lc;

	if (!backfill->only_helps && (backfill->sessions <= 1 || backfill->parts == 0))
		migrate_progress_set_held_by(backfill->root, held_by);
	else
		foreach(lc, backfill->kept)
			migrate_progress_set_part_held_by(lfirst(lc), held_by);
}

BackfillStatus
migrate_backfill_step(Backfill *backfill)
{
	BackfillStatus status;

	migrate_pump_settle(&backfill->pumps);
	status = take_step(backfill);
	report_held_by(backfill, backfill->held_by[0] ? backfill->held_by : NULL);
	return status;
}

/* ---- what remains ---- */

static int64
count_stale(Relation heap, Conversion *conversion, int64 from, int64 to)
{
	Range		range = {
		.heap = heap,
		.conversion = conversion,
		.target = target_version(conversion),
		.from = from,
		.to = Min(to, RelationGetNumberOfBlocks(heap)),
	};

	return range.from < range.to ? migrate_range_count(&range) : 0;
}

/* As many rows per block as ANALYZE found, were they all stale. */
static int64
estimate_stale(Relation heap, int64 blocks)
{
	BlockNumber pages;
	double		rows;
	double		all_visible;

	table_relation_estimate_size(heap, NULL, &pages, &rows, &all_visible);
	return pages > 0 ? (int64) (rows / pages * blocks) : 0;
}

/* Of rows left behind: those still stale, or where that is far to look, those noted. */
static int64
left_behind(Relation heap, Conversion *conversion, const Progress *progress)
{
	if (progress->left_to - progress->left_from > MAX_BLOCKS_TO_COUNT)
		return progress->skipped + progress->failed;
	return count_stale(heap, conversion, progress->left_from,
					   Min(progress->left_to, progress->next_block));
}

/* A heap that has to start over is not divided then. */
static int64
remaining_in_part(Relation heap, const Part *part)
{
	Conversion *conversion = migrate_conversion_get(part->heap);
	Progress	progress;

	if (!migrate_progress_read(part, &progress) || migrate_progress_starts(&progress, heap))
	{
		memset(&progress, 0, sizeof(Progress));
		if (part->first == 0)
			progress.end_block = RelationGetNumberOfBlocks(heap);
	}
	if (conversion == NULL)
		return 0;
	return left_behind(heap, conversion, &progress) +
		(progress.end_block - progress.next_block > MAX_BLOCKS_TO_COUNT
		 ? estimate_stale(heap, progress.end_block - progress.next_block - progress.ahead)
		 : count_stale(heap, conversion, progress.next_block, progress.end_block));
}

/* -1: others hold a heap in a strong lock. */
static int64
remaining_in_parts(const List *parts)
{
	int64		remaining = 0;
	ListCell   *lc;

	foreach(lc, parts)
	{
		const Part *part = lfirst(lc);
		Relation	heap;
		bool		exists;

		if (!lock_relation(part->heap, AccessShareLock, &exists))
		{
			if (exists)
				return -1;
			continue;
		}
		heap = table_open(part->heap, NoLock);
		remaining += remaining_in_part(heap, part);
		table_close(heap, NoLock);
	}
	return remaining;
}

/* In all that has not been gone over with nothing left behind. */
static List *
unfinished_parts(Oid root)
{
	return list_concat(migrate_progress_parts(root, PHASE_CONVERTING),
					   list_concat(migrate_progress_parts(root, PHASE_WAITING),
								   migrate_progress_parts(root, PHASE_FAILED)));
}

int64
migrate_backfill_remaining(Oid root)
{
	Conversion *conversion;
	int64		remaining;
	bool		exists;

	if (!lock_relation(root, AccessShareLock, &exists))
		return exists ? -1 : 0;
	conversion = incomplete_conversion(root);
	if (conversion == NULL)
		return 0;
	migrate_progress_sync(root, target_version(conversion));
	migrate_progress_widen(root);
	PushActiveSnapshot(GetTransactionSnapshot());
	remaining = remaining_in_parts(unfinished_parts(root));
	PopActiveSnapshot();
	return remaining;
}
