/*
 * read/arbiter.h
 *		Which index tells ON CONFLICT of a conflict while rows are stale.
 */
#ifndef MIGRATE_READ_ARBITER_H
#define MIGRATE_READ_ARBITER_H

#include "nodes/pg_list.h"

/*
 * Is there a unique index on the expressions of an inference clause (of
 * InferenceElem *, columns replaced by what they read as)? The relation is locked.
 */
extern bool migrate_arbiter_exists(Oid relid, List *elements);

#endif							/* MIGRATE_READ_ARBITER_H */
