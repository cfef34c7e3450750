/*
 * guard/inherit_guard.h
 *		Tables that would inherit from managed ones, or the other way round.
 */
#ifndef MIGRATE_GUARD_INHERIT_GUARD_H
#define MIGRATE_GUARD_INHERIT_GUARD_H

/* A table has just been made the child, or a partition, of another: may it be? */
extern void migrate_inherit_guard_check(Oid child, Oid parent);

/* A table has just got a column, which its children get next: may they? */
extern void migrate_inherit_guard_check_column(Oid parent, AttrNumber attno);

#endif							/* MIGRATE_GUARD_INHERIT_GUARD_H */
