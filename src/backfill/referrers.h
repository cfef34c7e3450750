/*
 * backfill/referrers.h
 *		Which rows others refer to that would not let them go.
 */
#ifndef MIGRATE_BACKFILL_REFERRERS_H
#define MIGRATE_BACKFILL_REFERRERS_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* The foreign keys that refer to a heap and refuse, in the current memory context. */
extern List *migrate_referrers_find(Relation heap);

/* Are they asked in that trigger's place? */
extern bool migrate_referrers_stand_for(List *referrers, const Trigger *trigger);

/*
 * Of which rows of the heap does the active snapshot see others that refer to them? An
 * array, parallel to "rows".
 */
extern bool *migrate_referrers_hold(List *referrers, TupleDesc desc, HeapTuple *rows, int nrows);

#endif							/* MIGRATE_BACKFILL_REFERRERS_H */
