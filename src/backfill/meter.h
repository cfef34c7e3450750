/*
 * backfill/meter.h
 *		What the server is at, and what our batches do to it, as throttle.c wants it.
 */
#ifndef MIGRATE_BACKFILL_METER_H
#define MIGRATE_BACKFILL_METER_H

#include <signal.h>

#include "datatype/timestamp.h"
#include "utils/rel.h"

#include "backfill/throttle.h"

typedef struct Meter
{
	int			sharers;		/* who keep within them together; set before each batch */
	ThrottleLimits limits;		/* as the settings were before the batch */
	ThrottleLoad load;
	ThrottleBatch batch;		/* the one that is under way */
	Pace		pace;

	/* private */
	WalMarks	marks;
	TimestampTz looked_at;		/* at the load */
	TimestampTz asked_at;		/* the operator's query */
	TimestampTz checked_at;		/* in a batch, who waits */
	TimestampTz batch_began;
	int64		wal_before;
	bool		interrupted;	/* the batch is to end */
	TransactionId writer;		/* that has last written in the batch */
} Meter;

/* May a batch of the table begin? Else why not, and for how long to wait. */
extern ThrottleReason migrate_meter_hold(Meter *meter, Oid root, long *wait);

/* A batch begins: how many rows (0: any) and milliseconds it may take. */
extern void migrate_meter_begin(Meter *meter, int64 rows_left, int64 *max_rows, long *batch_time);

/* Is the batch to end for what has come up since it began? Cheap: asked every few rows. */
extern bool migrate_meter_interrupts(Meter *meter, Relation heap);

/* It has ended; meter->pace says how long to rest, and why. */
extern void migrate_meter_end(Meter *meter, Relation heap, int64 rows);

#endif							/* MIGRATE_BACKFILL_METER_H */
