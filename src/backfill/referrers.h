/*
 * backfill/referrers.h
 *		Which rows others refer to that would not let them go.
 */
#ifndef MIGRATE_BACKFILL_REFERRERS_H
#define MIGRATE_BACKFILL_REFERRERS_H

#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* The foreign keys that refer to a heap and refuse, in the current memory context. */
extern List *migrate_referrers_find(Relation heap);

/* Does any row that the active snapshot sees refer to this one? Only for a look ahead. */
extern bool migrate_referrers_hold(List *referrers, TupleTableSlot *row);

#endif							/* MIGRATE_BACKFILL_REFERRERS_H */
