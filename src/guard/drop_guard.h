/*
 * guard/drop_guard.h
 *		Refusing what would take away what a live migration needs.
 */
#ifndef MIGRATE_GUARD_DROP_GUARD_H
#define MIGRATE_GUARD_DROP_GUARD_H

extern void migrate_drop_guard_init(void);

#endif							/* MIGRATE_GUARD_DROP_GUARD_H */
