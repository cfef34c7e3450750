/*
 * guard/inherit_guard.h
 *		Tables that would inherit from managed ones, or the other way round.
 */
#ifndef MIGRATE_GUARD_INHERIT_GUARD_H
#define MIGRATE_GUARD_INHERIT_GUARD_H

/* A table has just been made the child of another: may it be? */
extern void migrate_inherit_guard_check(Oid child, Oid parent);

#endif							/* MIGRATE_GUARD_INHERIT_GUARD_H */
