/*
 * read/usage.h
 *		Who uses columns that deprecated migrations remove.
 */
#ifndef MIGRATE_READ_USAGE_H
#define MIGRATE_READ_USAGE_H

extern void migrate_usage_init(void);

#endif							/* MIGRATE_READ_USAGE_H */
