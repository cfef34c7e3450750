/*
 * lifecycle/prune.h
 *		Which rows are to be removed where they would be converted.
 */
#ifndef MIGRATE_LIFECYCLE_PRUNE_H
#define MIGRATE_LIFECYCLE_PRUNE_H

/* "predicate" NULL is an error; "archive" is InvalidOid where rows are to be deleted. */
extern void migrate_lifecycle_set_prune(Oid relid, const char *predicate, Oid archive);
extern void migrate_lifecycle_unset_prune(Oid relid);

#endif							/* MIGRATE_LIFECYCLE_PRUNE_H */
