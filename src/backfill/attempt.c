/*
 * backfill/attempt.c
 *		A pass over a window of blocks, although some rows fail.
 *
 * A few pages at a time are pinned, and what is to replace their stale rows is
 * formed before any of it is stored. Forming runs the expressions, the checks and
 * the generated columns; that is where rows fail, and it writes nothing. So it has a
 * subtransaction of its own that costs next to nothing: without a transaction
 * number, once per few pages, and once more for each row that fails, which loses
 * nobody else's work. A row that was formed is stored only if its version is
 * still the newest (mover.c); the pin, held since it was read, makes sure that
 * its place is not another row's by then.
 *
 * Storing can fail too: a unique index or an exclusion constraint, a foreign key.
 * The batch is another subtransaction. If it fails it is rolled back, what
 * comes before the page that failed is done again, then the page itself
 * (failed_page.c). Then the pass goes on, a page at a time, for where one has failed
 * others are not far. So tables without such rows pay for one subtransaction with a
 * number per batch, those with some for a few per page that has one.
 *
 * A row to be pruned (prune.c) is not formed, and is removed where the others are stored.
 * Those that others refer to are looked for before, and formed. If it is found out only
 * after the removal, that is an error like those.
 *
 * Errors that say nothing about a row (a cancel, a full disk, no memory) are
 * raised. A deadlock, a lock_timeout (a unique index or a foreign key made the
 * row wait) and a serialization failure say that others were in the way: such a
 * row is left behind like a locked one.
 *
 * A row that failed is locked until the record of it is committed, so that what
 * is recorded is true then (catalog/failure.c).
 *
 * An error leaves nothing of its subtransaction: identity, settings, snapshot,
 * locks and buffers go with it, and so does the converter that it interrupted
 * (convert/converter.c). What is recorded commits with the batch.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/attempt.h"
#include "backfill/attempt_private.h"
#include "backfill/failed_page.h"
#include "catalog/failure.h"
#include "convert/row_key.h"

/* So many pages of a step are done by themselves. */
#define MAX_FAILED_PAGES	16

/* While rows are formed, it is looked now and then whether the batch is to end. */
#define ROWS_BETWEEN_LOOKS	8

/* A row that could not be converted. */
typedef struct Failure
{
	ItemPointerData tid;
	const char *migration;
	ErrorData  *error;
} Failure;

/* ---- a try ---- */

typedef struct Look
{
	MigrateAction action;
	void	   *context;
} Look;

static void
look(void *context)
{
	Look	   *with_snapshot = context;

	PushActiveSnapshot(GetTransactionSnapshot());
	with_snapshot->action(with_snapshot->context);
	PopActiveSnapshot();
}

ErrorData *
attempt_try(const Batch *batch, MigrateAction action, void *context)
{
	Look		with_snapshot = {action, context};
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	ErrorData  *error = migrate_try(look, &with_snapshot);

	MemoryContextSwitchTo(old);
	if (error != NULL && migrate_try_is_about_server(error))
		ReThrowError(error);
	return error;
}

/* ---- when to end ---- */

bool
migrate_attempt_is_over(const Batch *batch)
{
	return (batch->stop != NULL && *batch->stop) ||
		(batch->rows_left > 0 && batch->converted >= batch->rows_left) ||
		(batch->deadline != 0 && GetCurrentTimestamp() >= batch->deadline) ||
		migrate_meter_interrupts(batch->meter, batch->heap);
}

/* How many more rows may be taken up? */
static int
rows_allowed(const Pass *pass)
{
	const Batch *batch = pass->batch;
	int			room = MAX_ROWS - pass->handful->nrows;

	if (batch->rows_left == 0)
		return room;
	return Min(room, batch->rows_left - batch->converted - pass->handful->nrows);
}

/* ---- rows that fail ---- */

/* Where no expression was at fault, it is the newest form that does not fit. */
static void
note_failure(Pass *pass, const StaleRow *row, ErrorData *error, const char *culprit)
{
	Batch	   *batch = pass->batch;
	Conversion *conversion = batch->conversion;
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Failure    *failure = palloc(sizeof(Failure));

	failure->tid = row->tuple.t_self;
	failure->error = error;
	failure->migration = culprit ? culprit : conversion->live[conversion->nlive - 1].name;
	batch->failures = lappend(batch->failures, failure);
	MemoryContextSwitchTo(old);
}

static void
leave_row(Pass *pass, BlockNumber block)
{
	pass->window->left.skipped++;
	migrate_window_leave(&pass->window->left, block);
}

void
attempt_set_aside(Pass *pass, const StaleRow *row, ErrorData *error, const char *culprit)
{
	if (migrate_try_is_about_others(error))
		leave_row(pass, ItemPointerGetBlockNumber(&row->tuple.t_self));
	else
		note_failure(pass, row, error, culprit);
}

/*
 * Hold the row while the record of it is not committed: no writer mends it, or
 * records it himself, before. One that somebody holds is left for later, and
 * what somebody has changed since it was read is his to speak of.
 */
static TM_Result
lock_failed(const Batch *batch, ItemPointer tid, TupleTableSlot *slot)
{
	TM_FailureData failure;

	return table_tuple_lock(batch->heap, tid, GetActiveSnapshot(), slot,
							GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							LockWaitSkip, 0, &failure);
}

static FailedRow *
name_failed(const Batch *batch, const Failure *failure, TupleTableSlot *slot)
{
	FailedRow  *row = palloc(sizeof(FailedRow));

	row->migration = failure->migration;
	row->key = migrate_row_key_to_record(batch->heap, slot);
	row->tid = failure->tid;
	row->sqlerrcode = failure->error->sqlerrcode;
	row->message = failure->error->message;
	return row;
}

/* What is to be recorded of a row that failed; NULL where it is another's to speak of. */
static FailedRow *
hold_failed(Batch *batch, Window *window, Failure *failure, TupleTableSlot *slot)
{
	BlockNumber block = ItemPointerGetBlockNumber(&failure->tid);
	FailedRow  *row = NULL;

	switch (lock_failed(batch, &failure->tid, slot))
	{
		case TM_Ok:
			row = name_failed(batch, failure, slot);
			batch->failed++;
			batch->last_error = failure->error->message;
			window->left.failed++;
			migrate_window_leave(&window->left, block);
			break;
		case TM_Updated:
		case TM_Deleted:
			break;
		default:
			window->left.skipped++;
			migrate_window_leave(&window->left, block);
	}
	ExecClearTuple(slot);
	return row;
}

static void
record_failures(Batch *batch, Window *window)
{
	TupleTableSlot *slot;
	List	   *rows = NIL;
	ListCell   *lc;

	if (batch->failures == NIL)
		return;
	slot = table_slot_create(batch->heap, NULL);
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, batch->failures)
	{
		FailedRow  *row = hold_failed(batch, window, lfirst(lc), slot);

		if (row != NULL)
			rows = lappend(rows, row);
	}
	if (rows != NIL)
		migrate_failure_record_all(RelationGetRelid(batch->heap), rows);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	batch->failures = NIL;
}

/* ---- taking up pages ---- */

static bool
has_room(const Pass *pass)
{
	const Handful *handful = pass->handful;

	return handful->npages < (pass->wary ? 1 : MAX_PAGES) &&
		handful->nrows + MaxHeapTuplesPerPage <= MAX_ROWS;
}

void
attempt_take_up_page(Pass *pass, BlockNumber block)
{
	Batch	   *batch = pass->batch;
	Handful    *handful = pass->handful;
	PageVisit  *visit = &handful->pages[handful->npages];
	StaleRow   *rows = &handful->rows[handful->nrows];
	int			found;

	migrate_page_visit(visit, batch->heap, block, migrate_mover_can_be_hot(pass->mover));
	visit->allowance = pass->every_row ? EVERY_ROW : 0;
	visit->stale = pass->window->stale[block - pass->window->from];
	visit->growth = handful->growth;
	found = migrate_page_find(visit, batch->heap, &batch->staleness,
							  pass->window->next[block - pass->window->from],
							  rows_allowed(pass), rows);
	for (int i = 0; i < found; i++)
		rows[i].page = handful->npages;
	handful->nrows += found;
	handful->npages++;
}

/* The next pages of the pass that have stale rows; false where there are none. */
static bool
take_up_pages(Pass *pass)
{
	Handful    *handful = pass->handful;
	BlockNumber block;

	handful->npages = handful->nrows = handful->row = 0;
	handful->is_again = false;
	handful->bytes = 0;
	pass->rest = InvalidBlockNumber;
	while (has_room(pass) && rows_allowed(pass) > 0 &&
		   migrate_window_next(pass->window, &block, pass->limit))
	{
		CHECK_FOR_INTERRUPTS();
		pass->block = block;
		attempt_take_up_page(pass, block);
		pass->window->at = block + 1;
	}
	return handful->npages > 0;
}

void
attempt_put_down_pages(Pass *pass)
{
	Handful    *handful = pass->handful;

	for (int i = 0; i < handful->npages; i++)
	{
		PageVisit  *visit = &handful->pages[i];

		migrate_window_move(pass->window, visit->block, visit->next, visit->line_pointers);
		pass->window->stale[visit->block - pass->window->from] = Max(visit->stale, 0);
		migrate_page_leave(visit);
	}
}

/* ---- forming ---- */

/* The rest of the row's page comes in the next pass. */
static void
leave_page(Handful *handful)
{
	StaleRow   *row = &handful->rows[handful->row];

	handful->pages[row->page].next = ItemPointerGetOffsetNumber(&row->tuple.t_self);
	while (handful->row < handful->nrows && handful->rows[handful->row].page == row->page)
		handful->row++;
}

/*
 * Expressions may take so long, or make so much, that it is time before all are formed.
 * Pages that were not begun with are still to come in this pass.
 */
static void
leave_rest(Pass *pass)
{
	Handful    *handful = pass->handful;
	int			begun = handful->rows[handful->row - 1].page;

	while (handful->row < handful->nrows)
	{
		int			page = handful->rows[handful->row].page;

		if (page > begun)
			pass->rest = Min(pass->rest, handful->pages[page].block);
		leave_page(handful);
	}
}

static bool
is_to_be_formed(Pass *pass, StaleRow *row)
{
	if (pass->handful->is_again || row->referenced)
		return row->referenced;
	row->prune = migrate_pruner_judge(pass->batch->pruner, &row->tuple);
	return !row->prune;
}

static void
form_row(Pass *pass)
{
	Handful    *handful = pass->handful;
	StaleRow   *row = &handful->rows[handful->row];
	MemoryContext old;
	HeapTuple	formed;

	if (!is_to_be_formed(pass, row))
	{
		handful->row++;
		return;
	}
	old = MemoryContextSwitchTo(pass->batch->context);
	formed = migrate_mover_form(pass->mover, &row->tuple, row->version);
	MemoryContextSwitchTo(old);
	if (formed != NULL && !migrate_page_take(&handful->pages[row->page], row, formed->t_len))
	{
		heap_freetuple(formed);
		leave_page(handful);
		return;
	}
	if (formed != NULL)
	{
		handful->growth = (int) formed->t_len - (int) row->tuple.t_len;
		handful->bytes += formed->t_len;
	}
	row->formed = formed;
	handful->row++;
}

void
attempt_form_rows(void *context)
{
	Pass	   *pass = context;
	Handful    *handful = pass->handful;

	migrate_mover_begin_forming(pass->mover);
	PG_TRY();
	{
		for (int n = 1; handful->row < handful->nrows; n++)
		{
			CHECK_FOR_INTERRUPTS();
			form_row(pass);
			if (handful->bytes >= MAX_BYTES ||
				(n % ROWS_BETWEEN_LOOKS == 0 && migrate_attempt_is_over(pass->batch)))
				leave_rest(pass);
		}
	}
	PG_CATCH();
	{
		handful->culprit = migrate_mover_culprit(pass->mover);
		PG_RE_THROW();
	}
	PG_END_TRY();
	migrate_mover_end_forming(pass->mover);
}

static void
form_what_can_be_formed(Pass *pass)
{
	Handful    *handful = pass->handful;
	ErrorData  *error;

	while (handful->row < handful->nrows &&
		   (error = attempt_try(pass->batch, attempt_form_rows, pass)) != NULL)
	{
		migrate_mover_recover(pass->mover);
		attempt_set_aside(pass, &handful->rows[handful->row++], error, handful->culprit);
	}
}

bool
attempt_begin_again(Pass *pass)
{
	Handful    *handful = pass->handful;

	pass->block = handful->pages[0].block;
	if (!migrate_pruner_spare(pass->batch->pruner, handful->rows, handful->nrows))
		return false;
	handful->is_again = true;
	handful->row = 0;
	return true;
}

/* ---- storing ---- */

static MoveResult
store_row(Pass *pass, StaleRow *row)
{
	Batch	   *batch = pass->batch;
	MoveResult	result;

	if (row->prune)
		result = migrate_pruner_remove(batch->pruner, &row->tuple);
	else
		result = migrate_mover_store(pass->mover, &row->tuple,
									 pass->handful->pages[row->page].buffer, row->formed);
	if (result == MOVE_DONE)
	{
		batch->pruned += row->prune;
		batch->referenced += row->referenced;
	}
	return result;
}

void
attempt_store_rows(Pass *pass)
{
	Handful    *handful = pass->handful;

	for (int i = 0; i < handful->nrows; i++)
	{
		StaleRow   *row = &handful->rows[i];
		PageVisit  *visit = &handful->pages[row->page];

		handful->row = i;
		if (row->formed == NULL && !row->prune)
			continue;
		CHECK_FOR_INTERRUPTS();
		pass->block = visit->block;
		switch (store_row(pass, row))
		{
			case MOVE_DONE:
				pass->batch->converted++;
				break;
			case MOVE_LOCKED:
				leave_row(pass, visit->block);
				break;
			case MOVE_GONE:
				break;
		}
	}
	migrate_pruner_confirm(pass->batch->pruner, &pass->block);
}

static void
convert_pages(Pass *pass)
{
	while (take_up_pages(pass))
	{
		form_what_can_be_formed(pass);
		if (attempt_begin_again(pass))
			form_what_can_be_formed(pass);
		attempt_store_rows(pass);
		attempt_put_down_pages(pass);
		pass->window->at = Min(pass->window->at, pass->rest);
		if (migrate_attempt_is_over(pass->batch))
			return;
	}
}

static void
convert_part(void *context)
{
	Pass	   *pass = context;
	TransactionId writer;

	/* What fails before a page is taken up is looked into at the first. */
	if (!migrate_window_next(pass->window, &pass->block, pass->limit))
		return;
	pass->handful->growth = 0;
	pass->mover = migrate_mover_open(pass->batch->heap, pass->batch->conversion);
	convert_pages(pass);
	migrate_mover_close(pass->mover);
	writer = GetCurrentTransactionIdIfAny();
	if (TransactionIdIsValid(writer))
		pass->window->last_writer = writer;
}

/* ---- a pass ---- */

static void
begin_pass(Pass *pass, Batch *batch, Window *window)
{
	memset(pass, 0, sizeof(Pass));
	pass->batch = batch;
	pass->window = window;
	pass->limit = window->to;
	pass->handful = palloc(sizeof(Handful));
	pass->handful->culprit = NULL;
	batch->context = CurrentMemoryContext;
}

/* Goes on with the pass to its end, or to a page that fails, at the limit: then true. */
static bool
convert_up_to_failure(Pass *pass)
{
	Window		window_before = *pass->window;
	Batch		batch_before = *pass->batch;
	int			failures_before = list_length(pass->batch->failures);
	BlockNumber first;

	pass->limit = pass->window->to;
	while (attempt_try(pass->batch, convert_part, pass) != NULL)
	{
		*pass->window = window_before;
		*pass->batch = batch_before;
		pass->batch->failures = list_truncate(batch_before.failures, failures_before);
		pass->limit = pass->block;
		pass->wary = true;
		if (!migrate_window_next(pass->window, &first, pass->limit))
			return true;
	}
	return pass->limit < pass->window->to &&
		!migrate_window_next(pass->window, &first, pass->limit);
}

/* A batch that is over has at least done something. */
static bool
goes_on(const Batch *batch)
{
	return batch->converted == 0 || !migrate_attempt_is_over(batch);
}

void
migrate_attempt_pass(Batch *batch, Window *window)
{
	Pass		pass;

	begin_pass(&pass, batch, window);
	for (int failed = 0; failed < MAX_FAILED_PAGES; failed++)
		if (!convert_up_to_failure(&pass) || !goes_on(batch) ||
			!migrate_failed_page_convert(&pass, pass.limit) || migrate_attempt_is_over(batch))
			break;
	record_failures(batch, window);
	if (!migrate_window_next(window, &pass.block, window->to))
		window->at = window->from;
}

/*
 * All rows of a block were tried out of turn: what is recorded of those that did not fail
 * is no more true. Those that did stay recorded, if they are: the round may have gone
 * by them.
 */
static void
forget_mended(Batch *batch, BlockNumber block, const char *before)
{
	List	   *failed = NIL;
	ListCell   *lc;

	foreach(lc, batch->failures)
		failed = lappend(failed, &((Failure *) lfirst(lc))->tid);
	migrate_failure_forget_tried(RelationGetRelid(batch->heap), block, block + 1, before, failed);
}

AttemptResult
migrate_attempt_block(Batch *batch, BlockNumber block)
{
	Batch		batch_before = *batch;
	char	   *recorded_before = migrate_failure_snapshot();
	Window		window;
	Pass		pass;
	bool		any_failed;

	migrate_window_begin(&window, block, block + 1);
	begin_pass(&pass, batch, &window);
	pass.every_row = true;
	batch_before.context = batch->context;
	if (attempt_try(batch, convert_part, &pass) != NULL)
	{
		*batch = batch_before;
		return ATTEMPT_FAILED;
	}
	if (window.unfinished == 0 && window.left.skipped == 0)
		forget_mended(batch, block, recorded_before);
	any_failed = batch->failures != NIL;
	batch->failures = NIL;
	if (any_failed)
		return ATTEMPT_FAILED;
	return window.unfinished == 0 ? ATTEMPT_DONE : ATTEMPT_UNFINISHED;
}
