/*
 * backfill/progress.h
 *		How far the backfill of each part of a heap has come, as the catalog holds it.
 */
#ifndef MIGRATE_BACKFILL_PROGRESS_H
#define MIGRATE_BACKFILL_PROGRESS_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "backfill/attempt.h"
#include "backfill/part.h"
#include "backfill/window.h"

/*
 * What a part's backfill is at.
 *
 * converting	a round is under way
 * waiting		a round has ended, and left rows that others hold
 * failed		a round has ended, and left only rows that failed
 * scanned		a round has ended, and left nothing: the proof is due
 * settling		the proof holds, snapshots from before it do not yet
 */
#define PHASE_CONVERTING	"converting"
#define PHASE_WAITING		"waiting"
#define PHASE_FAILED		"failed"
#define PHASE_SCANNED		"scanned"
#define PHASE_SETTLING		"settling"

typedef struct Progress
{
	Part		part;
	Oid			filenode;
	int			round;			/* 0: not begun */
	int64		next_block;
	int64		end_block;		/* exclusive */
	int64		ahead;			/* so many are done from next_block on */
	int64		left_from;		/* blocks with rows left behind in this round; */
	int64		left_to;		/* exclusive; equal: none */
	int64		skipped;
	int64		failed;
} Progress;

/*
 * Have a row for every heap of a managed table, and none for what has ceased
 * to be one. Returns how many heaps start over.
 */
extern uint64 migrate_progress_sync(Oid root, int32 target);

/*
 * Lock the rows of all heaps of a table, before a statement that changes several.
 * Not to be called by who has claimed one.
 */
extern void migrate_progress_lock(Oid root);

/* A claimed heap is not the table's any more. */
extern void migrate_progress_drop(Oid heap);

/* The parts (of Part *) of a managed table's heaps in a phase. */
extern List *migrate_progress_parts(Oid root, const char *phase);

/*
 * Take a part's row for this transaction, if it is in the phase and no other
 * session has it: whoever has the row is alone in converting the part.
 */
extern bool migrate_progress_claim(const Part *part, const char *phase, Progress *progress);

/* Look without taking it. */
extern bool migrate_progress_read(const Part *part, Progress *progress);

/* The heap was opened: is it to be begun with, or was it rewritten? */
extern bool migrate_progress_starts(const Progress *progress, Relation heap);

/* With a part of it claimed, which starts: have the heap be one part. */
typedef enum JoinResult
{
	JOIN_ONE,					/* it is */
	JOIN_DONE,					/* it will be, from the next transaction on */
	JOIN_BLOCKED				/* others have claimed the other parts */
} JoinResult;

extern JoinResult migrate_progress_join(Oid heap);

/* Begin if it starts; clamp to what is there. */
extern void migrate_progress_adjust(Progress *progress, Relation heap);

/* Make another part of a claimed one's blocks from there on. */
extern void migrate_progress_divide(Progress *progress, BlockNumber from);

/*
 * Account for what a batch has done. The round has come to block "next" and done
 * "ahead" blocks beyond; in those that it has newly passed some rows were left.
 * Returns the phase.
 */
extern const char *migrate_progress_advance(Progress *progress, const Batch *batch,
											BlockNumber next, int64 ahead,
											const Left *left, bool is_over);

/*
 * Begin another round, over what the last one had to leave to others. Returns the
 * parts that have such rows.
 */
extern List *migrate_progress_next_round(Oid root);

/* The number of the round that a table is in. */
extern int	migrate_progress_last_round(Oid root);

/* The proof has failed: begin again with everything. */
extern void migrate_progress_start_over(Oid root);

/* Count what failed elsewhere since among what the last round left behind. */
extern void migrate_progress_widen(Oid root);

/* From failed back to converting where there is nothing left that failed; how many heaps. */
extern uint64 migrate_progress_revive(Oid root);

/* From failed back to converting. */
extern void migrate_progress_retry(Oid root);

extern void migrate_progress_set_phase(Oid root, const char *from, const char *to);
extern void migrate_progress_set_held_by(Oid root, const char *held_by);

/* The same of one part, while it is converted. */
extern void migrate_progress_set_part_held_by(const Part *part, const char *held_by);
extern void migrate_progress_forget(Oid root, int32 target);

#endif							/* MIGRATE_BACKFILL_PROGRESS_H */
