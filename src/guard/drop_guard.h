/*
 * guard/drop_guard.h
 *		Refusing what would take away what a live migration needs.
 */
#ifndef MIGRATE_GUARD_DROP_GUARD_H
#define MIGRATE_GUARD_DROP_GUARD_H

extern void migrate_guard_init(void);

/*
 * Our own changes of what is guarded stand between these two. They nest, and
 * an error puts the guard back with the (sub)transaction.
 */
extern int	migrate_guard_suspend(void);
extern void migrate_guard_resume(int token);

#endif							/* MIGRATE_GUARD_DROP_GUARD_H */
