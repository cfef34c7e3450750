/*
 * backfill/pump.h
 *		Which blocks of a heap come next.
 */
#ifndef MIGRATE_BACKFILL_PUMP_H
#define MIGRATE_BACKFILL_PUMP_H

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "backfill/part.h"
#include "backfill/progress.h"
#include "backfill/window.h"

/* A session's way through a round of a part of a heap. Lost with the session, and no harm done. */
typedef struct Pump
{
	Part		part;
	Oid			filenode;
	int			round;
	BlockNumber opened;			/* windows were opened up to here */
	BlockNumber end;			/* of the part in this round, exclusive */
	List	   *open;			/* of Window *, ascending; the first is not finished */
	List	   *used;			/* of Window *: finished, to be tidied */
	BlockNumber frontier;		/* as recorded by the last step */
	TransactionId writer;		/* of the step that is under way; none: all have committed */
	Bitmapset  *in_vain;		/* blocks that need not be taken up out of turn any more */
	MemoryContext context;
} Pump;

/* In a new transaction: forget the pumps of which the last step has not committed. */
extern void migrate_pump_settle(List **pumps);

/*
 * The pump of a claimed part, from a list that outlasts the step; it is made, or made
 * anew, where the progress is not as it left it.
 */
extern Pump *migrate_pump_get(List **pumps, const Progress *progress, MemoryContext context);

/* How many windows may be open that are to be had from memory, if not from shared_buffers. */
extern int	migrate_pump_windows_in_memory(void);

/* How many windows the pumps have open. */
extern int	migrate_pump_count_windows(List *pumps);

/*
 * The window to go on with; a new one only if that is allowed. NULL where there is
 * none, or all wait for the horizon: then "held_by" is the transaction that it
 * has to pass.
 */
extern Window *migrate_pump_choose(Pump *pump, Relation heap, bool may_open,
								   bool may_wait, TransactionId *held_by);

/* Give the space of finished windows back to the table, as far as it can be used. */
extern void migrate_pump_tidy(Pump *pump, Relation heap);

/*
 * A step is done. Moves past windows that are finished, and says how far that is,
 * what was left in them, and how many blocks are done beyond. True where the round is over.
 */
extern bool migrate_pump_advance(Pump *pump, BlockNumber *next, int64 *ahead, Left *left);

/*
 * A block of the part was taken up out of turn, and rows in it fail: it is for the round
 * to come by there. Was that so?
 */
extern void migrate_pump_note_in_vain(Pump *pump, BlockNumber block);
extern bool migrate_pump_is_in_vain(const Pump *pump, BlockNumber block);

extern void migrate_pump_forget(List **pumps, const Part *part);

#endif							/* MIGRATE_BACKFILL_PUMP_H */
