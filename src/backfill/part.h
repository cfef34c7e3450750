/*
 * backfill/part.h
 *		The parts that the heaps of a table are converted in, and whose they are.
 */
#ifndef MIGRATE_BACKFILL_PART_H
#define MIGRATE_BACKFILL_PART_H

#include "nodes/pg_list.h"
#include "storage/block.h"

/* A part of a heap: its blocks from here to where the next part begins. */
typedef struct Part
{
	Oid			heap;
	BlockNumber first;
} Part;

/* A heap is not divided into parts of fewer blocks. */
extern BlockNumber migrate_part_min_blocks(void);

/* Is a part among those? */
extern bool migrate_part_is_among(const Part *part, const List *parts);

/*
 * Keep a part to this session, across transactions, and note it in a list that lasts
 * as long. False where another session keeps it.
 */
extern bool migrate_part_keep(List **kept, const Part *part, MemoryContext context);

/* Leave a part to others. */
extern void migrate_part_leave(List **kept, const Part *part);

#endif							/* MIGRATE_BACKFILL_PART_H */
