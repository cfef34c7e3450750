/*
 * convert/converter.h
 *		Evaluating a conversion on one row at a time.
 *
 * Use: acquire, then for each row load or start, upgrade, set values,
 * reconcile, read slot; release. The values in the slot live until the next
 * load. What is not inlinable runs as the table's owner, restricted.
 */
#ifndef MIGRATE_CONVERT_CONVERTER_H
#define MIGRATE_CONVERT_CONVERTER_H

#include "executor/execdesc.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"

#include "convert/conversion.h"

typedef struct Converter
{
	Conversion *conversion;
	TupleTableSlot *slot;		/* virtual; the row being carried over */
	const LiveMigration *evaluating;	/* whose expression runs; NULL: none */
	bool		evaluating_down;	/* it is of that one's down */
	int			reach;			/* so many of the live migrations are looked at; all, unless set */
	Bitmapset  *changed;		/* by reconciling: what was set, and what was computed from it */
	uint32		speaks_new;		/* by reconciling: bit i, live[i] was spoken new */

	/* below: private to the module */
	ExprContext *econtext;
	List	   *ups;			/* lists of ExprState *, parallel to live[] */
	List	   *downs;
	List	   *needed;			/* ExprState *, or NULL */
	uint32		was_needed;		/* bit i: by the row before, see migrate_converter_note_needed */
	uint32		spoken;			/* bit i: see migrate_converter_note_spoken */
	MemoryContext context;
	SubTransactionId subxact;	/* in which it was acquired */
	struct Converter *next;
} Converter;

extern void migrate_converter_init(void);

extern Converter *migrate_converter_acquire(Conversion *conversion);
extern void migrate_converter_release(Converter *converter);

/* Make the slot hold the row of another slot, as stored. Forgets the row before. */
extern void migrate_converter_load(Converter *converter, TupleTableSlot *row);

/*
 * Make the slot hold a row of NULLs, for the caller to put values into; they
 * must live as long as they are needed. Forgets the row before.
 */
extern TupleTableSlot *migrate_converter_start(Converter *converter);

/*
 * Carry the row from a version up to the newest: oldest migration first. With
 * "check", a migration that rewrites columns in place is held to its promise
 * that up of a converted row changes nothing: an error where it does.
 */
extern void migrate_converter_upgrade(Converter *converter, int32 from_version, bool check);

/*
 * Bring both forms in step after the columns in "set" (attribute numbers)
 * were given new values. A migration of which a new-form column is set speaks
 * new: down computes its old form, newest migration first; the others speak
 * old: up computes their new form, oldest first. Only what depends on a
 * column that was set is computed, unless "whole" (a row that is new). A column
 * that is rewritten in place has but one form, so its up is applied whichever
 * form was spoken.
 */
extern void migrate_converter_reconcile(Converter *converter,
										const Bitmapset *set, bool whole);

/*
 * The row is to be stored without the live migrations beyond the reach: is there
 * in a column of theirs, as the row was stored in that version, something that
 * would be lost? That is what up does not give from the older form, unless it was
 * to be computed anew for what was changed. Returns the first such column, or 0.
 */
extern AttrNumber migrate_converter_find_lost(Converter *converter, TupleTableSlot *stored,
											  int32 version);

/*
 * Of a row that was reconciled: the first live migration that a release in support
 * lacks and whose new form, as it was set, up does not give back from the old form
 * that down has given; -1 where there is none. "whole" as for reconciling. Tells the
 * column, too.
 */
extern int	migrate_converter_find_unrepresented(Converter *converter, bool whole,
												 AttrNumber *column);

/*
 * Both, for a row of an older version, of whose columns those in "set" were
 * given new values and none that a newer migration computes: the forms that
 * the row has are brought in step, and the newer ones computed from that.
 */
extern void migrate_converter_reconcile_and_upgrade(Converter *converter,
													const Bitmapset *set,
													int32 from_version);

/*
 * Of an UPDATE's row, after load and upgrade and before the new values are put
 * into it: note which of the migrations that it has behind it by that version
 * it needed as it was; "row" is any slot of the relation's shape. Where the
 * update begins the need, reconciling computes what is not there yet; where it
 * ends it by a write of the old form, what up had computed is emptied.
 */
extern void migrate_converter_note_needed(Converter *converter, TupleTableSlot *row,
										  int32 version);

/*
 * Until it is released: whoever writes is known to speak the new form of those migrations
 * (bit i for live[i]). What they rewrite in place is taken as it was written.
 */
extern void migrate_converter_note_spoken(Converter *converter, uint32 migrations);

/* Does the row, which has the form below live migration i, need that one? */
extern bool migrate_converter_needs(Converter *converter, int i);

/* Must a row that is stored in this version be moved at all? */
extern bool migrate_converter_is_in_need(Converter *converter, int32 version);

/*
 * Compute one form of live migration i from the other, all of it; the new one
 * only if the row needs it.
 */
extern void migrate_converter_apply(Converter *converter, int i, bool up);

/* The first column to which up of live migration i, applied again, gives another value; or 0. */
extern AttrNumber migrate_converter_find_unstable(Converter *converter, int i);

/* Of the row in the slot: does up of live migration i give its new form, or down its old one? */
extern bool migrate_converter_forms_agree(Converter *converter, int i);

/* One assignment of live migration i, on the row in the slot. */
extern Datum migrate_converter_evaluate(Converter *converter, int i, bool up,
										int nth, bool *isnull);

#endif							/* MIGRATE_CONVERT_CONVERTER_H */
