/*
 * backfill/attempt_private.h
 *		What a pass, and what is done about a page that fails in it, share.
 */
#ifndef MIGRATE_BACKFILL_ATTEMPT_PRIVATE_H
#define MIGRATE_BACKFILL_ATTEMPT_PRIVATE_H

#include "access/htup_details.h"

#include "backfill/attempt.h"
#include "backfill/mover.h"
#include "catalog/try.h"

/* So much is formed before it is stored. */
#define MAX_PAGES	32
#define MAX_ROWS	1024
#define MAX_BYTES	(8 * 1024 * 1024)

StaticAssertDecl(MAX_ROWS >= 2 * MaxHeapTuplesPerPage, "no room for the rows of a page");

typedef struct Handful
{
	PageVisit	pages[MAX_PAGES];
	int			npages;
	StaleRow	rows[MAX_ROWS];
	int			nrows;
	int			row;			/* which is being formed, or stored */
	bool		is_again;		/* of those that are not to be pruned after all */
	const char *culprit;		/* the migration whose expression failed; NULL: none */
	int			growth;			/* of the last row that was formed, in bytes */
	Size		bytes;			/* of all that were formed */
} Handful;

typedef struct Pass
{
	Batch	   *batch;
	Window	   *window;
	BlockNumber limit;			/* before which it ends */
	BlockNumber block;			/* where it is, for who catches an error */
	BlockNumber rest;			/* of what was taken up: the first that was not begun with */
	bool		every_row;		/* all that a page has, whether there is room or not */
	bool		wary;			/* a page has failed: take up one at a time */
	Mover	   *mover;
	Handful    *handful;
} Pass;

/*
 * Do something under a snapshot of its own; the error that stopped it, in the
 * batch's memory, or NULL.
 */
extern ErrorData *attempt_try(const Batch *batch, MigrateAction action, void *context);

/* The row is left to others who were in the way, or has failed. */
extern void attempt_set_aside(Pass *pass, const StaleRow *row, ErrorData *error,
							  const char *culprit);

/* Add a page, and stale rows in it, to the handful. */
extern void attempt_take_up_page(Pass *pass, BlockNumber block);
extern void attempt_put_down_pages(Pass *pass);

/* Of a Pass: raises the error of the row at which it is. */
extern void attempt_form_rows(void *context);

/*
 * Of the rows to be pruned there may be some that others refer to: form those. To ask
 * for them one by one would cost more than all the rest.
 */
extern bool attempt_begin_again(Pass *pass);

extern void attempt_store_rows(Pass *pass);

#endif							/* MIGRATE_BACKFILL_ATTEMPT_PRIVATE_H */
