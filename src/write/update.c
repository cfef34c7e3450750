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
 * Where a migration rewrites in place what older ones have to do with: the columns
 * of these, and those that are rewritten. Else NULL.
 */
static Bitmapset *
older_forms_rewritten(const Conversion *conversion, int migration)
{
	const Bitmapset *rewritten = conversion->live[migration].rewritten;
	Bitmapset  *columns = NULL;

	for (int i = 0; i < migration; i++)
		columns = bms_add_members(columns, conversion->live[i].touched);
	if (!bms_overlap(rewritten, columns))
		return NULL;
	return bms_add_members(columns, rewritten);
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
	Bitmapset  *differing;

	if (live->needed == NULL)
		return false;
	differing = migrate_written_by_update(write->conversion, write->updated_columns,
										  write->stored, write->stored, write->row);
	return differing != NULL &&
		!is_computed_anew(live, surely_changed(write->conversion, live, differing));
}

static bool
is_written(const RowWrite *write, const Bitmapset *columns)
{
	return migrate_written_any(write->conversion, columns, write->updated_columns,
							   write->stored, write->row);
}

static Bitmapset *
add_computed(Bitmapset *set, List *assignments)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		const Assignment *assignment = lfirst(lc);

		if (bms_overlap(assignment->inputs, set))
			set = bms_add_member(set, assignment->target);
	}
	return set;
}

/* What an UPDATE has changed, and all that is computed from it, back and forth. */
static Bitmapset *
reached_columns(const Conversion *conversion, const Bitmapset *changed)
{
	Bitmapset  *reached = bms_copy(changed);

	for (int i = conversion->nlive - 1; i >= 0; i--)
		if (bms_overlap(conversion->live[i].added, reached))
			reached = add_computed(reached, conversion->live[i].downs);
	for (int i = 0; i < conversion->nlive; i++)
		reached = add_computed(reached, conversion->live[i].ups);
	return reached;
}

/*
 * Is something computed anew, or asked whether it is needed, by a migration or an
 * older one, from a column that the migration rewrites in place and that the
 * UPDATE leaves as it reads? In a converted row that is what the column has come
 * to be, so it must be here: coalesce(a, b) keeps what it has once taken from b.
 */
static bool
rewrites_what_is_kept(const RowWrite *write, int migration)
{
	const Conversion *conversion = write->conversion;
	Bitmapset  *changed;
	Bitmapset  *reached;
	Bitmapset  *kept;

	if (conversion->live[migration].rewritten == NULL)
		return false;
	changed = migrate_written_by_update(conversion, write->updated_columns,
										write->stored, write->stored, write->row);
	reached = reached_columns(conversion, changed);
	kept = bms_difference(conversion->live[migration].rewritten, changed);
	for (int i = 0; i <= migration; i++)
	{
		const LiveMigration *older = &conversion->live[i];
		ListCell   *lc;

		if (older->needed != NULL && bms_overlap(older->needed->inputs, kept) &&
			bms_overlap(older->touched, reached))
			return true;
		foreach(lc, older->ups)
		{
			const Assignment *up = lfirst(lc);

			if (!up->generated && bms_overlap(up->inputs, kept) &&
				bms_overlap(up->inputs, reached))
				return true;
		}
	}
	return false;
}

/*
 * Has an UPDATE of a stale row named, or an earlier trigger changed, a column
 * that only the row's upgrade gives a value to? Where the upgrade rewrites in place
 * what an older form depends on, so it is with all columns of that form: what is
 * computed anew has to be computed from what is read, and that the client wrote back
 * what it had read must not count. (Where no other migration has to do with it, what is
 * written back is the same as what the upgrade makes.)
 */
static bool
concerns_newer_forms(const RowWrite *write)
{
	const Conversion *conversion = write->conversion;
	uint32		speaks = migrate_pin_speaks(conversion);

	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];
		bool		is_spoken = (speaks & ((uint32) 1 << i)) != 0;

		if (live->version <= write->stored_version)
			continue;
		if (is_written(write, live->added) || may_end_need(write, live) ||
			rewrites_what_is_kept(write, i))
			return true;
		if (is_written(write, is_spoken ? live->rewritten
					   : older_forms_rewritten(conversion, i)))
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
	return migrate_carry_out(write, concerns_newer_forms(write) ? update_stale
							 : update_in_old_forms);
}
