/*
 * backfill/failed_page.c
 *		A page of which a row could not be stored.
 *
 * A pass (attempt.c) stores many rows in one subtransaction. If that fails it is rolled
 * back, and the page at which it stopped is done by itself: once more without the row at
 * which it stopped, which gets a subtransaction of its own. Where several rows of the
 * page fail, it is done row by row. So those with some such rows cost a few
 * subtransactions with a number, and none costs many more than it has rows.
 *
 * A row that was pruned, and turns out to be referred to, is an error like those: by
 * itself it is tried once more, and converted.
 *
 * The page is pinned from the first try to the last, outside of all of them, so that its
 * rows stay where they are. What a try that fails has counted is taken back.
 */
#include "postgres.h"

#include "access/transam.h"

#include "backfill/failed_page.h"

/* So many rows of a page may fail before each is tried apart. */
#define MAX_APART	4

static void
convert_rows(void *context)
{
	Pass	   *pass = context;

	pass->mover = migrate_mover_open(pass->batch->heap, pass->batch->conversion);
	attempt_form_rows(pass);
	if (attempt_begin_again(pass))
		attempt_form_rows(pass);
	attempt_store_rows(pass);
	migrate_mover_close(pass->mover);
}

/* In a subtransaction of its own; what stopped it, or NULL. */
static ErrorData *
try_row(Pass *pass, const StaleRow *row)
{
	Batch	   *batch = pass->batch;
	Handful    *handful = pass->handful;
	Batch		before = *batch;
	ErrorData  *error;

	handful->rows[0] = *row;
	handful->nrows = 1;
	handful->row = 0;
	handful->is_again = false;
	handful->culprit = NULL;
	error = attempt_try(batch, convert_rows, pass);
	if (error == NULL)
		return NULL;
	batch->converted = before.converted;
	batch->pruned = before.pruned;
	batch->referenced = before.referenced;
	return error;
}

/* Those of the page's rows together that are not to be tried apart; false where one fails. */
static bool
try_together(Pass *pass, const StaleRow *rows, int nrows, bool *apart)
{
	Handful    *handful = pass->handful;
	Batch		batch_before = *pass->batch;
	Left		left_before = pass->window->left;
	PageVisit	visit_before = handful->pages[0];
	int			which[MaxHeapTuplesPerPage];
	ErrorData  *error;

	handful->nrows = handful->row = 0;
	handful->is_again = false;
	for (int i = 0; i < nrows; i++)
		if (!apart[i])
		{
			which[handful->nrows] = i;
			handful->rows[handful->nrows++] = rows[i];
		}
	if (handful->nrows == 0 || (error = attempt_try(pass->batch, convert_rows, pass)) == NULL)
		return true;
	FreeErrorData(error);
	apart[which[Min(handful->row, handful->nrows - 1)]] = true;
	*pass->batch = batch_before;
	pass->window->left = left_before;
	handful->pages[0] = visit_before;
	return false;
}

/* As many together as can be; true if that are any. */
static bool
convert_together(Pass *pass, const StaleRow *rows, int nrows, bool *apart)
{
	memset(apart, 0, nrows * sizeof(bool));
	for (int i = 0; i < MAX_APART; i++)
		if (try_together(pass, rows, nrows, apart))
			return true;
	memset(apart, 1, nrows * sizeof(bool));
	return false;
}

/* The same for a row that may be one to prune, to which others refer. */
static ErrorData *
convert_row_apart(Pass *pass, StaleRow *row)
{
	ErrorData  *error = try_row(pass, row);

	if (error == NULL || !pass->handful->rows[0].prune ||
		!migrate_pruner_was_referenced(pass->batch->pruner, error))
		return error;
	FreeErrorData(error);
	row->referenced = true;
	return try_row(pass, row);
}

bool
migrate_failed_page_convert(Pass *pass, BlockNumber block)
{
	Handful    *handful = pass->handful;
	StaleRow   *rows = palloc(sizeof(StaleRow) * MaxHeapTuplesPerPage);
	bool		apart[MaxHeapTuplesPerPage];
	bool		together;
	int			nrows;

	handful->npages = handful->nrows = 0;
	handful->growth = 0;
	pass->mover = migrate_mover_open(pass->batch->heap, pass->batch->conversion);
	attempt_take_up_page(pass, block);
	migrate_mover_close(pass->mover);
	nrows = handful->nrows;
	memcpy(rows, handful->rows, sizeof(StaleRow) * nrows);
	together = convert_together(pass, rows, nrows, apart);
	for (int i = 0; i < nrows; i++)
	{
		OffsetNumber next = handful->pages[0].next;
		ErrorData  *error;

		if (!apart[i])
			continue;
		if (next != PAGE_FINISHED && ItemPointerGetOffsetNumber(&rows[i].tuple.t_self) >= next)
			break;
		error = convert_row_apart(pass, &rows[i]);
		if (handful->pages[0].next != next)
			break;				/* no more are taken in this pass */
		if (error != NULL)
			attempt_set_aside(pass, &rows[i], error, handful->culprit);
	}
	pass->window->at = block + 1;
	pass->window->last_writer = ReadNextTransactionId();	/* beyond those of its rows */
	attempt_put_down_pages(pass);
	pfree(rows);
	return together;
}
