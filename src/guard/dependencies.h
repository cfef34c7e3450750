/*
 * guard/dependencies.h
 *		What the expressions of live migrations use, as the server knows it.
 */
#ifndef MIGRATE_GUARD_DEPENDENCIES_H
#define MIGRATE_GUARD_DEPENDENCIES_H

#include "nodes/nodes.h"

/*
 * Make the write trigger depend on just what the live migrations' expressions
 * use. Called by whatever changes which migrations of a table are live, under
 * AccessExclusiveLock.
 */
extern void migrate_dependencies_record(Oid relid);

/* Before a statement that drops something: what is not on record here yet is put there. */
extern void migrate_dependencies_expect(Node *statement);

#endif							/* MIGRATE_GUARD_DEPENDENCIES_H */
