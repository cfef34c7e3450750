/*
 * lifecycle/relation_check.h
 *		Which relations can be managed, and by whom.
 */
#ifndef MIGRATE_LIFECYCLE_RELATION_CHECK_H
#define MIGRATE_LIFECYCLE_RELATION_CHECK_H

/* Can this relation be managed, by this user? Raises an error if not. */
extern void migrate_relation_check(Oid relid);

#endif							/* MIGRATE_LIFECYCLE_RELATION_CHECK_H */
