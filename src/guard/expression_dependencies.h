/*
 * guard/expression_dependencies.h
 *		What live migrations' expressions use, as the server's dependencies.
 */
#ifndef MIGRATE_GUARD_EXPRESSION_DEPENDENCIES_H
#define MIGRATE_GUARD_EXPRESSION_DEPENDENCIES_H

#include "nodes/parsenodes.h"

/*
 * Make the write trigger depend on just what the live migrations' expressions
 * use. Called by whatever changes which migrations of a table are live, under
 * AccessExclusiveLock.
 */
extern void migrate_record_dependencies(Oid relid);

/* A trigger was created: if by a restore, and ours, it depends on nothing yet. */
extern void migrate_record_dependencies_restored(const RangeVar *table);

/*
 * Do it where the server has been upgraded with the data in place, and so has made the
 * trigger without telling us; unless somebody has a lock that is in the way.
 */
extern void migrate_record_dependencies_upgraded(Oid relid);

#endif							/* MIGRATE_GUARD_EXPRESSION_DEPENDENCIES_H */
