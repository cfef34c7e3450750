/*
 * guard/function_guard.h
 *		Functions that are replaced while live migrations use them.
 */
#ifndef MIGRATE_GUARD_FUNCTION_GUARD_H
#define MIGRATE_GUARD_FUNCTION_GUARD_H

/* A function was made, replaced or altered by the current command. */
extern void migrate_function_guard_check(Oid function);

#endif							/* MIGRATE_GUARD_FUNCTION_GUARD_H */
