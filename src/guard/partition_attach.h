/*
 * guard/partition_attach.h
 *		Making a table ready to become a partition of a managed one.
 */
#ifndef MIGRATE_GUARD_PARTITION_ATTACH_H
#define MIGRATE_GUARD_PARTITION_ATTACH_H

#include "nodes/primnodes.h"

#include "convert/conversion.h"

/*
 * ATTACH is about to be done: give the table what it lacks of what a managed
 * parent has. Returns the table, if the parent is managed and both are the
 * caller's.
 */
extern Oid	migrate_partition_prepare(const RangeVar *parent, const RangeVar *name);

/* An error where a relation is or has a partition of a kind whose rows cannot be converted. */
extern void migrate_partition_check(const Conversion *conversion);

/*
 * What drops a table's constraints that ask the extension whether a row is excused, or
 * its version supported: actions of ALTER TABLE.
 */
extern List *migrate_partition_checks(Oid relid);

#endif							/* MIGRATE_GUARD_PARTITION_ATTACH_H */
