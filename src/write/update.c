/*
 * write/update.c
 *		What an UPDATE makes of a stored row, whatever version that is in.
 *
 * Each way to compute it is a step that migrate_carry_out() can take again with
 * a shorter reach: the row then keeps, or falls back to, an older form.
 */
#include "postgres.h"

#include "utils/rel.h"

#include "convert/converter.h"
#include "convert/pin.h"
#include "migrate.h"
#include "write/carry_out.h"
#include "write/update.h"
#include "write/written.h"

/*
 * Put the new values upon the row in the converter, which holds what was
 * stored, upgraded. A column that a migration has to do with and that was not
 * set keeps what it has there: the new row has it as it was stored. All others
 * are the same in both or new.
 */
static void
overlay(RowWrite *write, const Bitmapset *set)
{
	TupleTableSlot *slot = write->converter->slot;
	TupleTableSlot *row = write->row;

	slot_getallattrs(row);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		if (bms_is_member(i + 1, write->conversion->touched) && !bms_is_member(i + 1, set))
			continue;
		slot->tts_values[i] = row->tts_values[i];
		slot->tts_isnull[i] = row->tts_isnull[i];
	}
}

/*
 * Of the columns in which a new row differs from a stale one as it is stored, those
 * that an UPDATE has changed for sure as a migration sees it: not those which are
 * rewritten in place, for they may differ only for having been read.
 */
static Bitmapset *
surely_changed(const Conversion *conversion, const LiveMigration *of, const Bitmapset *differing)
{
	Bitmapset  *changed = bms_copy(differing);

	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];

		if (live != of || live->added != NULL)
			changed = bms_del_members(changed, live->rewritten);
	}
	return changed;
}

/*
 * Has an UPDATE changed an input of everything that a migration computes? What
 * it had computed for the row as it was does not matter then.
 */
static bool
is_computed_anew(const LiveMigration *live, const Bitmapset *changed)
{
	ListCell   *lc;

	foreach(lc, live->ups)
	{
		const Assignment *up = lfirst(lc);

		if (!up->generated && !bms_overlap(up->inputs, changed))
			return false;
	}
	return true;
}

/*
 * May an UPDATE end a stale row's need of a migration? What the row reads as
 * before is kept by it where it does not change that, so the row has to be
 * converted first.
 */
static bool
may_end_need(const RowWrite *write, const LiveMigration *live)
{
	return live->needed != NULL && write->set != NULL &&
		!is_computed_anew(live, surely_changed(write->conversion, live, write->set));
}

static bool
is_written(const RowWrite *write, const Bitmapset *columns)
{
	return migrate_written_any(write->conversion, columns, write->updated_columns,
							   write->stored, write->row);
}

/* Of the columns that a migration rewrites in place, those that older ones have to do with. */
static Bitmapset *
rewritten_of_older_forms(const Conversion *conversion, int migration)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < migration; i++)
		columns = bms_add_members(columns, conversion->live[i].touched);
	return bms_int_members(columns, conversion->live[migration].rewritten);
}

/*
 * Go through what reconciling would compute of one form, from what was reached so far:
 * "reached" grows. Is one of these columns read for it?
 */
static bool
reads(List *assignments, bool up, const Bitmapset *columns, Bitmapset **reached)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		const Assignment *assignment = lfirst(lc);

		if (assignment->generated ||
			!(bms_overlap(assignment->inputs, *reached) ||
			  ((!up || assignment->in_place) && bms_is_member(assignment->target, *reached))))
			continue;
		if (bms_overlap(assignment->inputs, columns))
			return true;
		*reached = bms_add_member(*reached, assignment->target);
	}
	return false;
}

/* Likewise all forms up to that of a migration, back and forth. */
static bool
computes_from(const Conversion *conversion, int migration, const Bitmapset *columns,
			  Bitmapset **reached)
{
	const LiveMigration *live = conversion->live;

	for (int i = migration; i >= 0; i--)
		if (bms_overlap(live[i].added, *reached) && reads(live[i].downs, false, columns, reached))
			return true;
	for (int i = 0; i <= migration; i++)
		if ((live[i].needed != NULL && bms_overlap(live[i].needed->inputs, columns) &&
			 bms_overlap(live[i].touched, *reached)) ||
			reads(live[i].ups, true, columns, reached))
			return true;
	return false;
}

/*
 * Would an UPDATE of a stale row come out in another way if the row had been converted
 * before, because of what a migration rewrites in place? That is so
 *
 * - where it writes such a column, and older forms depend on that: whether it has set it
 *   is told by what the row read as, rewritten, and not by what is stored. (Where only
 *   this migration and newer ones have to do with the column, the result is the same: up
 *   makes of what was stored what it makes of what was read);
 * - where something is computed anew, back or forth, from such a column that the UPDATE
 *   leaves as it reads: in a converted row that is what the column has come to be.
 *   coalesce(a, b) keeps what a has once taken from b;
 * - where a client that is known to speak the new form writes such a column, or something
 *   that it would be computed from: its row is not rewritten, and would be by an upgrade.
 */
static bool
depends_on_rewriting(const RowWrite *write, int migration)
{
	const Conversion *conversion = write->conversion;
	const Bitmapset *rewritten = conversion->live[migration].rewritten;
	bool		spoken;
	Bitmapset  *reached;

	if (rewritten == NULL)
		return false;
	spoken = (migrate_pin_speaks(conversion) >> migration & 1) != 0;
	if (is_written(write, spoken ? rewritten : rewritten_of_older_forms(conversion, migration)))
		return true;
	reached = bms_copy(write->set);
	if (computes_from(conversion, migration, bms_difference(rewritten, write->set), &reached))
		return true;
	return spoken && bms_overlap(rewritten, reached);
}

/*
 * Must the row that an UPDATE found stale be converted before anything else? If it
 * names, or an earlier trigger has changed, a column that only the upgrade gives a value
 * to; or if what the upgrade makes of the row as it was has a part in what becomes of it.
 * Else it need not be: see update_in_old_forms().
 */
static bool
must_upgrade_first(const RowWrite *write)
{
	const Conversion *conversion = write->conversion;

	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];

		if (live->version > write->stored_version &&
			(is_written(write, live->added) || may_end_need(write, live) ||
			 depends_on_rewriting(write, i)))
			return true;
	}
	return false;
}

/*
 * An UPDATE that speaks the forms that the stale row has: the newer ones are
 * computed from what it makes of them. What the row held before need not be
 * convertible: this is how a row that is not gets mended.
 */
static void
update_in_old_forms(RowWrite *write)
{
	migrate_converter_load(write->converter, write->row);
	migrate_converter_note_needed(write->converter, write->stored, write->stored_version);
	migrate_converter_reconcile_and_upgrade(write->converter, write->set, write->stored_version);
}

static void
update_stale(RowWrite *write)
{
	migrate_converter_load(write->converter, write->stored);
	migrate_converter_upgrade(write->converter, write->stored_version, false);
	migrate_converter_note_needed(write->converter, write->converter->slot,
								  write->conversion->version);
	write->set = migrate_written_by_update(write->conversion, write->updated_columns,
										   write->stored, write->converter->slot, write->row);
	overlay(write, write->set);
	migrate_converter_reconcile(write->converter, write->set, false);
}

static void
update_converted(RowWrite *write)
{
	migrate_converter_load(write->converter, write->row);
	migrate_converter_note_needed(write->converter, write->stored, write->conversion->version);
	migrate_converter_reconcile(write->converter, write->set, false);
}

/* A converted row reads as it is stored, and most writes to it are none of our business. */
HeapTuple
migrate_update_store(RowWrite *write, int32 given_version)
{
	write->set = migrate_written_by_update(write->conversion, write->updated_columns,
										   write->stored, write->stored, write->row);
	if (write->stored_version >= write->conversion->version)
	{
		if (write->set == NULL && given_version == write->conversion->version)
			return write->tuple;
		return migrate_carry_out(write, update_converted);
	}
	return migrate_carry_out(write, must_upgrade_first(write) ? update_stale
							 : update_in_old_forms);
}
