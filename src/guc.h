/*
 * guc.h
 *		Every setting of the extension.
 */
#ifndef MIGRATE_GUC_H
#define MIGRATE_GUC_H

#include "utils/guc.h"

/* Background work: read by the launcher and its workers. */
extern bool migrate_guc_autostart;
extern int	migrate_guc_max_workers;
extern int	migrate_guc_workers_per_table;
extern int	migrate_guc_naptime;	/* seconds */

/* Pace: of the workers, and of CALL migrate.run() as its session has them. */
extern int	migrate_guc_max_rows_per_second;	/* 0: no limit */
extern int	migrate_guc_target_batch_time;	/* milliseconds */
extern int	migrate_guc_max_wal_rate;	/* kilobytes per second; 0: no limit */
extern int	migrate_guc_max_replication_lag;	/* milliseconds; 0: no limit */
extern int	migrate_guc_max_archive_backlog;	/* WAL files; 0: no limit */
extern char *migrate_guc_throttle_query;	/* NULL or empty: none */

/* Whether rows wait until the space of those before them can be used again. */
extern bool migrate_guc_wait_for_horizon;

/* Whether reads note the blocks in which they meet stale rows. */
extern bool migrate_guc_read_repair;

/* How expand, contract and rollback ask for their strong lock. */
extern int	migrate_guc_lock_timeout;	/* milliseconds */
extern int	migrate_guc_lock_attempts;

/* Whether DROP, ALTER and the like of what a live migration needs are refused. */
extern bool migrate_guc_guard;

/* The release that the session is pinned to; empty: none. */
extern char *migrate_guc_release;

/* The programs whose use of deprecated columns does not count, and how often that was set. */
extern char *migrate_guc_usage_ignore;
extern uint32 migrate_guc_usage_ignore_changes;
extern int	migrate_guc_usage_flush_interval;	/* seconds */

/* Who looks at a new value, and who is told of it: set by the module that knows releases. */
typedef bool (*MigrateReleaseCheck) (const char *value, GucSource source);
typedef void (*MigrateReleaseAssign) (const char *value);
extern MigrateReleaseCheck migrate_guc_release_check;
extern MigrateReleaseAssign migrate_guc_release_assign;

extern void migrate_guc_init(void);

#endif							/* MIGRATE_GUC_H */
