/*
 * backfill/pause.h
 *		Between who converts a table and who tells him not to.
 */
#ifndef MIGRATE_BACKFILL_PAUSE_H
#define MIGRATE_BACKFILL_PAUSE_H

/* Before it is read whether the table is paused. False where somebody is pausing it. */
extern bool migrate_pause_enter(Oid root);

/* Nothing was converted, and the transaction goes on with something else. */
extern void migrate_pause_leave(Oid root);

/* By who has entered: is somebody waiting for this batch to end? */
extern bool migrate_pause_is_wanted(Oid root);

/* Wait for batches under way, and let none begin, until this transaction ends. */
extern void migrate_pause_wait(Oid root);

#endif							/* MIGRATE_BACKFILL_PAUSE_H */
