/*
 * backfill/step.h
 *		The backfill of one managed table, a transaction's worth at a time.
 */
#ifndef MIGRATE_BACKFILL_STEP_H
#define MIGRATE_BACKFILL_STEP_H

#include <signal.h>

#include "nodes/pg_list.h"

#include "backfill/meter.h"

typedef enum BackfillStatus
{
	BACKFILL_NOTHING,			/* the table has no migration that is incomplete */
	BACKFILL_WORKED,			/* go on */
	BACKFILL_WAITING,			/* others are in the way: see held_by */
	BACKFILL_FAILED,			/* only rows that fail are left */
	BACKFILL_SCANNED			/* nothing was left behind: time for the proof */
} BackfillStatus;

/* What the driver of steps, too, may find in the way. */
#define HELD_BY_TABLE_LOCK	"a lock on the table"

typedef struct Backfill
{
	Oid			root;

	/* How to go about it; may be changed between steps. */
	int64		rows_left;		/* to convert at most; 0: no limit */
	const volatile sig_atomic_t *stop;	/* NULL, or end the batch when it is set */
	bool		only_helps;		/* convert rows, and leave rounds and their end to others */
	bool		takes_turns;	/* in parts that others keep, too, if it has none */

	/* What the last step did. */
	int64		converted;
	int64		failed;			/* rows that could not be converted */
	long		pause;			/* milliseconds to rest before the next step */
	char		held_by[256];	/* what it waits for; empty: nothing */

	/* Private to the module. */
	Meter		meter;
	int			sessions;		/* that convert the table, this one included */
	int			parts;			/* that are being converted */
	List	   *kept;			/* of Part *: those that are ours from step to step */
	int32		target;			/* the version last synced for */
	List	   *pumps;			/* one for each part that is under way */
	int			horizon_waits;	/* in a row */
	MemoryContext context;		/* what outlasts a step */
} Backfill;

/* From here to the end this session is one of those that share the table, and its limits. */
extern void migrate_backfill_init(Backfill *backfill, Oid root);

/* Leave what is kept, and its share, to others; also after an error. */
extern void migrate_backfill_end(Backfill *backfill);

/*
 * Do one step in the caller's transaction, which the caller then commits
 * before it rests. The transaction is READ COMMITTED.
 */
extern BackfillStatus migrate_backfill_step(Backfill *backfill);

/*
 * How many rows are stale: exact where few blocks are left, else an estimate;
 * -1 where others hold the table in a strong lock.
 */
extern int64 migrate_backfill_remaining(Oid root);

/* Say for all to see what the table waits for; NULL: nothing. */
extern void migrate_backfill_hold(Backfill *backfill, const char *held_by, long pause);

#endif							/* MIGRATE_BACKFILL_STEP_H */
