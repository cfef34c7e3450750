/*
 * lifecycle/run.h
 *		What a session may do about a backfill: run, pause, resume, retry, wait for it.
 */
#ifndef MIGRATE_LIFECYCLE_RUN_H
#define MIGRATE_LIFECYCLE_RUN_H

/*
 * Convert in this session, committing as it goes; the caller made sure that it
 * may. InvalidOid: every table of the caller's that is not paused. max_rows 0:
 * no limit. remaining is -1 where it could not be seen.
 */
extern void migrate_run_tables(Oid relid, int64 max_rows,
							   int64 *converted, int64 *remaining);

extern void migrate_run_set_paused(Oid relid, bool paused);
extern int64 migrate_run_retry(Oid relid);

/*
 * Wait until a migration is complete; false when the time (ms; < 0: none) is up.
 * "function" is the one that was called for it.
 */
extern bool migrate_wait_complete(const char *name, int64 timeout, Oid function);

#endif							/* MIGRATE_LIFECYCLE_RUN_H */
