/*
 * lifecycle/advance.h
 *		Carrying one managed table from expanded to complete, step by step.
 */
#ifndef MIGRATE_LIFECYCLE_ADVANCE_H
#define MIGRATE_LIFECYCLE_ADVANCE_H

#include "postmaster/bgworker.h"

#include "backfill/step.h"
#include "lifecycle/complete.h"

typedef enum AdvanceStatus
{
	ADVANCE_WORKED,				/* go on after the pause */
	ADVANCE_WAITING,			/* others are in the way: see backfill.held_by */
	ADVANCE_FAILED,				/* only rows that fail are left */
	ADVANCE_PAUSED,
	ADVANCE_DONE				/* nothing is left to do */
} AdvanceStatus;

typedef struct Advance
{
	Backfill	backfill;		/* limits in, results out */
	Settling	settling;
	bool		begun;
	MemoryContext context;		/* outlives transactions */
	BackgroundWorkerHandle *builder;	/* of indexes, the last one started */
	int			builders;		/* how many were started */
} Advance;

/* The memory context that is current must outlive the steps. */
extern void migrate_advance_init(Advance *advance, Oid root);

/* Only convert rows, beside others who do the rest. */
extern void migrate_advance_only_help(Advance *advance);

/* One step, in the caller's READ COMMITTED transaction, to be committed after it. */
extern AdvanceStatus migrate_advance_step(Advance *advance);
extern void migrate_advance_end(Advance *advance);

/*
 * Set while a step reads a whole table for its proof or waits for a lock, which takes as long as
 * it takes: a signal handler that would else let a step end had better not.
 */
extern volatile sig_atomic_t migrate_advance_is_proving;

#endif							/* MIGRATE_LIFECYCLE_ADVANCE_H */
