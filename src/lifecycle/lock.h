/*
 * lifecycle/lock.h
 *		Getting a strong lock on a busy table without a queue behind it.
 */
#ifndef MIGRATE_LIFECYCLE_LOCK_H
#define MIGRATE_LIFECYCLE_LOCK_H

/*
 * Take AccessExclusiveLock on a table and its partitions, held to the end of
 * the transaction. Raises lock_not_available, naming who holds the table, after
 * migrate.lock_attempts attempts of migrate.lock_timeout each. "what" is what the
 * lock is for: "expand migration \"x\"".
 */
extern void migrate_lock_table(Oid relid, const char *what);

#endif							/* MIGRATE_LIFECYCLE_LOCK_H */
