/*
 * backfill/page.h
 *		A page of a heap, the stale rows in it and the room for new ones.
 */
#ifndef MIGRATE_BACKFILL_PAGE_H
#define MIGRATE_BACKFILL_PAGE_H

#include "access/htup.h"
#include "storage/buf.h"
#include "utils/rel.h"

#include "convert/conversion.h"

/* What makes a row stale. */
typedef struct Staleness
{
	AttrNumber	attno;			/* of the row version */
	int32		target;			/* rows below it are stale */
	int32		absent;			/* the version of rows stored before the column was */
} Staleness;

extern void migrate_page_init_staleness(Staleness *staleness, Relation heap,
										const Conversion *conversion, int32 target);

/* The version that a row was stored in. */
extern int32 migrate_page_version(const Staleness *staleness, Relation heap, HeapTuple tuple);

/* A stale row, in a page that is pinned. */
typedef struct StaleRow
{
	HeapTupleData tuple;		/* its data are in the page */
	int32		version;
	int			page;			/* the caller's: which of its pages */
	HeapTuple	formed;			/* the caller's: what is to replace it */
	bool		prune;			/* the caller's: it is to be removed instead */
	bool		referenced;		/* the caller's: and cannot be */
} StaleRow;

/* A pinned page, and what it has room for. */
typedef struct PageVisit
{
	BlockNumber block;
	Buffer		buffer;
	int			line_pointers;
	OffsetNumber next;			/* the row to go on with the next time */
	int			stale;			/* rows that are left to convert; 0: not counted yet */
	int			growth;			/* by which they are expected to grow, in bytes */
	Size		room;			/* in bytes */
	Size		freed;			/* what the rows that were let pass will leave behind */
	int			relocated;		/* so many of them go elsewhere */
	int			allowance;		/* so many may */
	bool		can_be_hot;		/* any number may stay for which there is room */
} PageVisit;

#define EVERY_ROW	MaxHeapTuplesPerPage

/* Pin a page, and have the server give back the space of what is dead in it. */
extern void migrate_page_visit(PageVisit *visit, Relation heap, BlockNumber block,
							   bool can_be_hot);
extern void migrate_page_leave(PageVisit *visit);

/*
 * The stale rows from "first" on that will pass if they grow as expected, and at most
 * "max". Counts those that are stale if that is not known, and sets the allowance by
 * their size if it is 0.
 */
extern int	migrate_page_find(PageVisit *visit, Relation heap, const Staleness *staleness,
							  OffsetNumber first, int max, StaleRow *rows);

/* Let a row pass that is to be replaced by one of that length, if it may. */
extern bool migrate_page_take(PageVisit *visit, const StaleRow *row, Size length);

/* Give back what is dead, and let others know of the room that there is. */
extern void migrate_page_tidy(Relation heap, BlockNumber block);

#endif							/* MIGRATE_BACKFILL_PAGE_H */
