/*
 * lifecycle/use_flush.h
 *		Carrying the counts of uses from shared memory to the table.
 */
#ifndef MIGRATE_LIFECYCLE_USE_FLUSH_H
#define MIGRATE_LIFECYCLE_USE_FLUSH_H

extern void migrate_use_flush_init(void);

/*
 * Carry what was counted in this database, in the transaction under way: a worker's, or
 * that of migrate.run(), which is in no transaction block.
 */
extern void migrate_use_flush(void);

#endif							/* MIGRATE_LIFECYCLE_USE_FLUSH_H */
