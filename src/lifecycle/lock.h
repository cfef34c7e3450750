/*
 * lifecycle/lock.h
 *		Getting a strong lock on a busy table without a queue behind it.
 */
#ifndef MIGRATE_LIFECYCLE_LOCK_H
#define MIGRATE_LIFECYCLE_LOCK_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

/* A lock on a table and its partitions. */
typedef struct TableLock
{
	Oid			relid;
	LOCKMODE	mode;
} TableLock;

/*
 * Take AccessExclusiveLock on a table and its partitions, held to the end of
 * the transaction. Raises lock_not_available, naming who holds the table, after
 * migrate.lock_attempts attempts of migrate.lock_timeout each. "what" is what the
 * lock is for: "expand migration \"x\"".
 */
extern void migrate_lock_table(Oid relid, const char *what);

/*
 * Likewise several tables (of TableLock *), each in its mode, all or none; an
 * error names the first.
 */
extern void migrate_lock_tables(List *tables, const char *what);
extern List *migrate_lock_add(List *tables, Oid relid, LOCKMODE mode);

/* From now on, to the end of the caller's GUC nest level, no lock is waited for longer. */
extern void migrate_lock_limit_wait(int milliseconds);

/* Who holds what is in the way of those locks, in words that everybody may see; NULL: nobody. */
extern char *migrate_lock_holders(List *tables);

#endif							/* MIGRATE_LIFECYCLE_LOCK_H */
