/*
 * read/inline_guard.h
 *		Keeping the planner from taking in queries behind our back.
 */
#ifndef MIGRATE_READ_INLINE_GUARD_H
#define MIGRATE_READ_INLINE_GUARD_H

extern void migrate_inline_guard_init(void);

#endif							/* MIGRATE_READ_INLINE_GUARD_H */
