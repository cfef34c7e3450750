/*
 * lifecycle/statistics.h
 *		What the planner knows of a new column while rows are stale.
 */
#ifndef MIGRATE_LIFECYCLE_STATISTICS_H
#define MIGRATE_LIFECYCLE_STATISTICS_H

/*
 * Have a managed table and its partitions carry extended statistics on just
 * what their columns read as by now; of a relation that others hold a lock on, later.
 */
extern void migrate_lifecycle_sync_statistics(Oid root);

#endif							/* MIGRATE_LIFECYCLE_STATISTICS_H */
