/*
 * guard/partitions.h
 *		Partitions that come to a managed table, or leave it.
 */
#ifndef MIGRATE_GUARD_PARTITIONS_H
#define MIGRATE_GUARD_PARTITIONS_H

#include "nodes/pg_list.h"
#include "nodes/parsenodes.h"

/*
 * What a statement is about to attach to managed tables or to detach from them,
 * made ready for it, to be handed on when it is done.
 */
extern List *migrate_partitions_expect(Node *statement);
extern void migrate_partitions_follow(List *partitions);

#endif							/* MIGRATE_GUARD_PARTITIONS_H */
