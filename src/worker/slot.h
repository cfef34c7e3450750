/*
 * worker/slot.h
 *		Who is at work where: the workers' places in shared memory.
 */
#ifndef MIGRATE_WORKER_SLOT_H
#define MIGRATE_WORKER_SLOT_H

#include "shmem.h"

/*
 * Start the worker of a database (relation InvalidOid, number 0) or, of that number, one
 * of one of its tables. False where the server has no process to spare. No-op where
 * there is such a worker already, and for a table where migrate.max_workers are busy;
 * of these one that only helps is sent away for a table's first.
 */
extern bool migrate_slot_start(Oid database, Oid relation, int number);

/* Where more workers of tables are there than may be by now, one that helps is sent away. */
extern void migrate_slot_keep_to_limit(void);

/* In the new process: take the place that was kept for it, or exit. */
extern WorkerSlot *migrate_slot_attach(Datum argument);

/*
 * A database's worker is about to leave: give the place up, unless it was
 * poked meanwhile and has to look again.
 */
extern bool migrate_slot_leave(WorkerSlot *slot);
extern void migrate_slot_settle(WorkerSlot *slot);

/* Is a worker that only helps to leave its place to another table? */
extern bool migrate_slot_is_unwanted(const WorkerSlot *slot);

/* Have a database's worker look again; false where there is none. */
extern bool migrate_slot_poke(Oid database);

/* Is a database's worker there that has not yet said whether it stays? */
extern bool migrate_slot_is_unsettled(Oid database);

/*
 * Have no worker begin in a database; those that are there stay. False where that
 * cannot be remembered. Each call wants its counterpart, after which workers come back.
 */
extern bool migrate_slot_bar(Oid database);
extern void migrate_slot_unbar(Oid database);

/* Has a database any workers, or will it have? */
extern bool migrate_slot_any(Oid database);

/* How many workers of tables a database has. */
extern int	migrate_slot_count_tables(Oid database);

#endif							/* MIGRATE_WORKER_SLOT_H */
