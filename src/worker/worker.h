/*
 * worker/worker.h
 *		Background work: a launcher per server, a worker per database that has
 *		something to do, a worker per table.
 */
#ifndef MIGRATE_WORKER_WORKER_H
#define MIGRATE_WORKER_WORKER_H

extern void migrate_worker_init(void);

#endif							/* MIGRATE_WORKER_WORKER_H */
