/*
 * backfill/attempt.h
 *		A pass over a window of blocks, although some rows fail.
 */
#ifndef MIGRATE_BACKFILL_ATTEMPT_H
#define MIGRATE_BACKFILL_ATTEMPT_H

#include <signal.h>

#include "access/htup.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "backfill/meter.h"
#include "backfill/page.h"
#include "backfill/prune.h"
#include "backfill/window.h"

/* What one transaction converts. */
typedef struct Batch
{
	Relation	heap;
	Conversion *conversion;
	Staleness	staleness;
	int64		rows_left;		/* to convert at most; 0: no limit */
	TimestampTz deadline;		/* 0: none */
	const volatile sig_atomic_t *stop;	/* NULL, or leave when it is set */
	Meter	   *meter;			/* leave when it finds a reason */
	Pruner	   *pruner;			/* NULL: every row is converted */

	/* What it has done. */
	int64		converted;		/* or pruned */
	int64		pruned;			/* those of them that are gone */
	int64		referenced;		/* those that are not, since others refer to them */
	int64		repaired;		/* those of them in blocks that reads had noted */
	int64		failed;
	char	   *last_error;		/* NULL: none */

	/* below: private to the module */
	MemoryContext context;
	List	   *failures;
} Batch;

/* Is it to be left by now? */
extern bool migrate_attempt_is_over(const Batch *batch);

/*
 * Go on with the pass that a window is in, to its end or the batch's, and
 * record the rows that cannot be converted. Raises only errors that are no row's
 * fault.
 */
extern void migrate_attempt_pass(Batch *batch, Window *window);

/*
 * Convert all rows of a block, but for those that others hold; or, where one
 * fails, perhaps none: it is left to the pass that comes by, and that records it.
 * What is recorded of rows that are converted is forgotten.
 */
typedef enum AttemptResult
{
	ATTEMPT_DONE,
	ATTEMPT_UNFINISHED,			/* the batch has come to its end */
	ATTEMPT_FAILED				/* rows of it fail */
} AttemptResult;

extern AttemptResult migrate_attempt_block(Batch *batch, BlockNumber block);

#endif							/* MIGRATE_BACKFILL_ATTEMPT_H */
