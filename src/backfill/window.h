/*
 * backfill/window.h
 *		A few blocks of a heap that are converted together, pass by pass.
 */
#ifndef MIGRATE_BACKFILL_WINDOW_H
#define MIGRATE_BACKFILL_WINDOW_H

#include "storage/block.h"
#include "storage/off.h"

#define MAX_WINDOW_BLOCKS	1024

/* The row that a page goes on with: none. */
#define PAGE_FINISHED		InvalidOffsetNumber

/* Rows that had to be left as they were, and the blocks that they are in. */
typedef struct Left
{
	int64		skipped;		/* locked by others */
	int64		failed;
	BlockNumber from;
	BlockNumber to;				/* exclusive; equal: there are none */
} Left;

typedef struct Window
{
	BlockNumber from;
	BlockNumber to;				/* exclusive */
	BlockNumber at;				/* where the pass goes on */
	int			unfinished;		/* pages with rows left to try */
	double		done;			/* how much of it is done, in pages */
	TransactionId last_writer;	/* the last that converted rows in it, or none */
	char	   *before;			/* what the caller noted when it was opened */
	Left		left;
	OffsetNumber next[MAX_WINDOW_BLOCKS];	/* by page: the row to go on with, */
	uint16		stale[MAX_WINDOW_BLOCKS];	/* and how many are left; 0: not counted */
} Window;

extern void migrate_window_begin(Window *window, BlockNumber from, BlockNumber to);

/* The heap has only so many blocks. */
extern void migrate_window_clamp(Window *window, BlockNumber nblocks);

/* The next page of the pass, before "limit"; false at the pass's end. */
extern bool migrate_window_next(const Window *window, BlockNumber *block, BlockNumber limit);

/* A page of "rows" line pointers goes on with that row. */
extern void migrate_window_move(Window *window, BlockNumber block, OffsetNumber next, int rows);

/* A row of the block was left; and rows of another window were. */
extern void migrate_window_leave(Left *left, BlockNumber block);
extern void migrate_window_add_left(Left *left, const Left *more);

#endif							/* MIGRATE_BACKFILL_WINDOW_H */
