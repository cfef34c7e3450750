/*
 * backfill/prune.h
 *		Removing rows that are not worth converting.
 */
#ifndef MIGRATE_BACKFILL_PRUNE_H
#define MIGRATE_BACKFILL_PRUNE_H

#include "access/htup.h"
#include "nodes/nodes.h"
#include "utils/elog.h"
#include "utils/rel.h"

#include "backfill/mover.h"
#include "backfill/page.h"
#include "convert/conversion.h"

typedef struct Pruner Pruner;

/*
 * What is to be pruned of a heap, for this transaction and in the current memory
 * context, whose end frees it; NULL: nothing. False where others have locked the archive.
 * Raises an error where what was asked for cannot be done any more. The caller holds
 * RowExclusiveLock on the heap.
 */
extern bool migrate_pruner_open(Pruner **pruner, Relation heap, Conversion *conversion);

/* Of a relation: the condition, over varno 1 and its own attributes; NULL: none. */
extern Node *migrate_prune_condition(Relation rel);

/* The archive of a managed table; InvalidOid: rows are deleted. */
extern Oid	migrate_prune_archive(Oid root);

/*
 * All within what migrate_mover_open() begins, under a snapshot, of rows that were found in
 * pages that are pinned. Is the row to be pruned?
 */
extern bool migrate_pruner_judge(Pruner *pruner, HeapTuple row);

/* Have those that others refer to be converted instead; false where there are none. */
extern bool migrate_pruner_spare(Pruner *pruner, StaleRow *rows, int nrows);

/* Remove it: if nobody holds it and it is still to be pruned then. */
extern MoveResult migrate_pruner_remove(Pruner *pruner, HeapTuple row);

/*
 * To be called before the subtransaction ends in which rows were removed. Raises an error
 * where others refer to one of them; it is in "block", or else not before that.
 */
extern void migrate_pruner_confirm(Pruner *pruner, BlockNumber *block);

/* Removing it has raised that error: is it that other rows refer to it? */
extern bool migrate_pruner_was_referenced(const Pruner *pruner, const ErrorData *error);

#endif							/* MIGRATE_BACKFILL_PRUNE_H */
