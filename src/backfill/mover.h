/*
 * backfill/mover.h
 *		Moving stored rows to the newest version.
 */
#ifndef MIGRATE_BACKFILL_MOVER_H
#define MIGRATE_BACKFILL_MOVER_H

#include "access/htup.h"
#include "storage/buf.h"
#include "utils/rel.h"

#include "convert/conversion.h"

typedef struct Mover Mover;

typedef enum MoveResult
{
	MOVE_DONE,
	MOVE_LOCKED,				/* somebody holds the row: come again */
	MOVE_GONE					/* somebody has converted or removed it */
} MoveResult;

/*
 * Raise an error where rows may not be updated: where that is published, and nobody
 * could tell by it which rows they are.
 */
extern void migrate_mover_check(Relation heap, const Conversion *conversion);

/*
 * From open to close everything runs as the heap's owner, restricted. The
 * caller has pushed a snapshot, and holds RowExclusiveLock on the heap.
 */
extern Mover *migrate_mover_open(Relation heap, Conversion *conversion);
extern void migrate_mover_close(Mover *mover);

/* May an update be HOT, if its page has room? */
extern bool migrate_mover_can_be_hot(const Mover *mover);

/*
 * Form what is to replace a row; NULL where no migration has anything to do with
 * it. Between begin and end; if a row fails, its subtransaction is rolled back,
 * and the mover recovered instead of ended.
 */
extern void migrate_mover_begin_forming(Mover *mover);
extern HeapTuple migrate_mover_form(Mover *mover, HeapTuple row, int32 version);
extern void migrate_mover_end_forming(Mover *mover);
extern void migrate_mover_recover(Mover *mover);

/* Whose expression is being evaluated, for who catches an error; NULL: no one's. */
extern const char *migrate_mover_culprit(const Mover *mover);

/*
 * Put what was formed in the place of a row, in a page that was pinned all the
 * time since that was read. "formed" is freed.
 */
extern MoveResult migrate_mover_store(Mover *mover, HeapTuple row, Buffer buffer,
									  HeapTuple formed);

#endif							/* MIGRATE_BACKFILL_MOVER_H */
