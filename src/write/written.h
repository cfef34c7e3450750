/*
 * write/written.h
 *		Which columns a statement set.
 *
 * That tells which form of each live migration the statement speaks. The sets
 * are of attribute numbers of the relation written to.
 */
#ifndef MIGRATE_WRITE_WRITTEN_H
#define MIGRATE_WRITE_WRITTEN_H

#include "executor/tuptable.h"
#include "utils/rel.h"

#include "convert/conversion.h"

/* What a row to be inserted says of itself. */
typedef struct WrittenInsert
{
	bool		says_version;	/* it is stored in that form already */
	int32		version;
	const Bitmapset *set;		/* else: what was named */
} WrittenInsert;

extern WrittenInsert migrate_written_by_insert(const Conversion *conversion, Relation rel,
											   TupleTableSlot *row);

/*
 * Of the columns that any live migration reads or writes, those which an
 * UPDATE set: "stored" is the row as it was, "logical" what that reads as.
 */
extern Bitmapset *migrate_written_by_update(const Conversion *conversion,
											const Bitmapset *updated_columns,
											TupleTableSlot *stored,
											TupleTableSlot *logical,
											TupleTableSlot *row);

/* Was any of some columns named by an UPDATE, or is it not as it was stored? */
extern bool migrate_written_any(const Conversion *conversion, const Bitmapset *columns,
								const Bitmapset *updated_columns,
								TupleTableSlot *stored, TupleTableSlot *row);

/*
 * What an INSERT that set these columns set in a pinned session: where it says
 * nothing in either form of a migration that the release knows, it is taken in
 * the new one.
 */
extern const Bitmapset *migrate_written_by_pinned(const Conversion *conversion, Relation rel,
												  TupleTableSlot *row, const Bitmapset *set);

/* The columns that a migration removes and those that down assigns. */
extern Bitmapset *migrate_written_old_form(const LiveMigration *live);

/* Has a row that is inserted nothing but NULL and defaults in these columns? */
extern bool migrate_written_says_nothing(Relation rel, TupleTableSlot *row,
										 const Bitmapset *columns);

#endif							/* MIGRATE_WRITE_WRITTEN_H */
