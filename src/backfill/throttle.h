/*
 * backfill/throttle.h
 *		How fast to go. Pure: time, load and limits come in.
 */
#ifndef MIGRATE_BACKFILL_THROTTLE_H
#define MIGRATE_BACKFILL_THROTTLE_H

/* How many rows one batch may convert; 0: as many as its time allows. */
extern int64 migrate_throttle_batch_rows(int64 rows_left, int max_rows_per_second);

/* How many milliseconds to rest after a batch. */
extern long migrate_throttle_rest(int64 rows, long elapsed_ms, int max_rows_per_second);

/* How many milliseconds to wait before a round that meets rows held by others. */
extern long migrate_throttle_round(int round);

#endif							/* MIGRATE_BACKFILL_THROTTLE_H */
