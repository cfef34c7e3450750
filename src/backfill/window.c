/*
 * backfill/window.c
 *		A few blocks of a heap that are converted together, pass by pass. Pure.
 *
 * Of each page is known with which row it goes on: those before it are
 * converted, or were left to others, or failed. A stale row version stays where
 * it is (backfill/pump.c), so none comes to stand before that row.
 */
#include "postgres.h"

#include "backfill/window.h"

void
migrate_window_begin(Window *window, BlockNumber from, BlockNumber to)
{
	Assert(to - from <= MAX_WINDOW_BLOCKS);
	memset(window, 0, offsetof(Window, next));
	window->from = from;
	window->to = to;
	window->at = from;
	window->unfinished = to - from;
	for (int i = 0; i < window->unfinished; i++)
		window->next[i] = FirstOffsetNumber;
	memset(window->stale, 0, sizeof(window->stale));
}

void
migrate_window_clamp(Window *window, BlockNumber nblocks)
{
	for (BlockNumber block = Max(window->from, nblocks); block < window->to; block++)
		migrate_window_move(window, block, PAGE_FINISHED, 1);
}

bool
migrate_window_next(const Window *window, BlockNumber *block, BlockNumber limit)
{
	for (*block = window->at; *block < Min(window->to, limit); (*block)++)
		if (window->next[*block - window->from] != PAGE_FINISHED)
			return true;
	return false;
}

void
migrate_window_move(Window *window, BlockNumber block, OffsetNumber next, int rows)
{
	OffsetNumber *place = &window->next[block - window->from];
	double		left = (double) (rows + 1 - *place) / Max(rows, 1);

	if (*place == PAGE_FINISHED)
		return;
	if (next == PAGE_FINISHED)
	{
		window->done += Max(left, 0);
		window->unfinished--;
	}
	else
		window->done += (double) (next - *place) / Max(rows, 1);
	*place = next;
}

void
migrate_window_leave(Left *left, BlockNumber block)
{
	bool		is_first = left->from == left->to;

	if (is_first || block < left->from)
		left->from = block;
	if (is_first || block >= left->to)
		left->to = block + 1;
}

void
migrate_window_add_left(Left *left, const Left *more)
{
	left->skipped += more->skipped;
	left->failed += more->failed;
	if (more->from == more->to)
		return;
	migrate_window_leave(left, more->from);
	migrate_window_leave(left, more->to - 1);
}
