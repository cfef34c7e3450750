/*
 * guard/table_copy.h
 *		Tables that are made in the likeness of managed ones.
 */
#ifndef MIGRATE_GUARD_TABLE_COPY_H
#define MIGRATE_GUARD_TABLE_COPY_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

/* What CREATE TABLE ... (LIKE ...) is about to copy, to be handed on when it is done. */
extern List *migrate_table_copies_expect(Node *statement);
extern void migrate_table_copies_follow(List *copies);

/* The table that a CREATE TABLE has made under that name; InvalidOid if there is none. */
extern Oid	migrate_table_created(const RangeVar *name);

#endif							/* MIGRATE_GUARD_TABLE_COPY_H */
