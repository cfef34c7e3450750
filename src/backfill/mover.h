/*
 * backfill/mover.h
 *		Moving one stored row to the newest version.
 */
#ifndef MIGRATE_BACKFILL_MOVER_H
#define MIGRATE_BACKFILL_MOVER_H

#include "utils/rel.h"

#include "convert/conversion.h"

typedef struct Mover Mover;

typedef enum MoveResult
{
	MOVE_DONE,
	MOVE_LOCKED,				/* somebody holds the row: come again */
	MOVE_GONE,					/* somebody has converted or removed it */
	MOVE_UNNEEDED				/* no migration has anything to do with it */
} MoveResult;

/*
 * From open to close everything runs as the heap's owner, restricted. The
 * caller has pushed a snapshot, and holds RowExclusiveLock on the heap.
 */
extern Mover *migrate_mover_open(Relation heap, Conversion *conversion);
extern void migrate_mover_close(Mover *mover);

extern MoveResult migrate_mover_move(Mover *mover, TupleTableSlot *row, int32 version);

/* Whose expression is being evaluated, for who catches an error; NULL: no one's. */
extern const char *migrate_mover_culprit(const Mover *mover);

#endif							/* MIGRATE_BACKFILL_MOVER_H */
