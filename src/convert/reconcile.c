/*
 * convert/reconcile.c
 *		Bringing all forms of the row in a Converter in step.
 *
 * A stored row is carried up by the ups of the migrations that it lacks, oldest first. A
 * row of which some columns were given new values has first the downs of those
 * migrations whose new form was spoken, newest first, and then the ups of the others,
 * oldest first, so that a chain agrees from end to end.
 */
#include "postgres.h"

#include "convert/converter.h"
#include "convert/converter_private.h"

/* ---- one form from the other ---- */

/* Which assignments of a migration are to be computed. */
typedef struct Extent
{
	bool		up;				/* those of up, else of down */
	bool		whole;			/* the row is new, or was never in this form: all */
	bool		in_place_only;	/* the new form was written: up has only these to mend */
	bool		fill;			/* the row did not need it before: also what is empty */
	bool		spoken;			/* by a client of the new form: nothing is rewritten */
} Extent;

/*
 * Where the row is not new: what reads a column that was set. What is set and
 * assigned too is computed by down, for the new form wins, and by an up in
 * place, for whoever set the column gave it as it was before; any other up
 * leaves it.
 */
static bool
is_called_for(const Converter *converter, const Assignment *assignment,
			  const Extent *extent, const Bitmapset *set)
{
	if (assignment->generated || (extent->in_place_only && !assignment->in_place) ||
		(extent->spoken && assignment->in_place))
		return false;
	if (extent->fill &&
		(assignment->in_place || converter->slot->tts_isnull[assignment->target - 1]))
		return true;
	return extent->whole || bms_overlap(assignment->inputs, set) ||
		((!extent->up || assignment->in_place) && bms_is_member(assignment->target, set));
}

/*
 * Compute one form of a migration from the other. As in UPDATE ... SET, all
 * values are computed before any is assigned. Returns "set" grown by what was
 * assigned.
 */
static Bitmapset *
compute_form(Converter *converter, int i, Extent extent, Bitmapset *set)
{
	bool		up = extent.up;
	LiveMigration *migration = &converter->conversion->live[i];
	List	   *assignments = up ? migration->ups : migration->downs;
	List	   *states = list_nth(up ? converter->ups : converter->downs, i);
	int			count = list_length(assignments);
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(count, 1) * sizeof(bool));
	bool	   *computed = palloc0(Max(count, 1) * sizeof(bool));

	for (int n = 0; n < count; n++)
	{
		Assignment *assignment = list_nth(assignments, n);

		if (!is_called_for(converter, assignment, &extent, set))
			continue;
		values[n] = converter_evaluate(converter, migration, assignment,
							 list_nth(states, n), up, &nulls[n]);
		computed[n] = true;
	}
	for (int n = 0; n < count; n++)
	{
		AttrNumber	target = ((Assignment *) list_nth(assignments, n))->target;

		if (!computed[n])
			continue;
		converter->slot->tts_values[target - 1] = values[n];
		converter->slot->tts_isnull[target - 1] = nulls[n];
		set = bms_add_member(set, target);
	}
	pfree(values);
	pfree(nulls);
	pfree(computed);
	return set;
}

/*
 * The old form was written so that the row has come not to need the new one:
 * what would be computed is what such rows have there, nothing. Columns for
 * which up does not read what was written are left alone.
 */
static Bitmapset *
empty_form(Converter *converter, int i, Extent extent, Bitmapset *set)
{
	Bitmapset  *emptied = NULL;
	ListCell   *lc;

	foreach(lc, converter->conversion->live[i].ups)
	{
		Assignment *up = lfirst(lc);

		if (up->in_place || !is_called_for(converter, up, &extent, set))
			continue;
		converter->slot->tts_values[up->target - 1] = (Datum) 0;
		converter->slot->tts_isnull[up->target - 1] = true;
		emptied = bms_add_member(emptied, up->target);
	}
	return bms_join(set, emptied);
}

/* ---- the forms of a row ---- */

/* How many of the live migrations a row of some version has behind it, within the reach. */
static int
migrations_done(const Converter *converter, int32 version)
{
	int			done = 0;

	while (done < converter->reach && converter->conversion->live[done].version <= version)
		done++;
	return done;
}

static void
upgrade(Converter *converter, int done, bool check)
{
	static const Extent all = {.up = true, .whole = true};
	Conversion *conversion = converter->conversion;

	for (int i = done; i < converter->reach; i++)
	{
		if (!migrate_converter_needs(converter, i))
			continue;
		bms_free(compute_form(converter, i, all, NULL));
		if (check && conversion->live[i].rewritten != NULL)
			round_trip_check_idempotence(converter, i);
	}
}

/* Bring the forms of the first "done" migrations in step. */
static void
reconcile(Converter *converter, int done, const Bitmapset *set_by_statement, bool whole)
{
	Conversion *conversion = converter->conversion;
	Extent		down = {.up = false, .whole = whole};
	Extent		up = {.up = true, .whole = whole};
	Bitmapset  *set = bms_copy(set_by_statement);

	for (int i = done - 1; i >= 0; i--)
	{
		/* What a newer migration's down computed counts: the chain agrees. */
		if (!bms_overlap(conversion->live[i].added, set))
			continue;
		converter->speaks_new |= (uint32) 1 << i;
		set = compute_form(converter, i, down, set);
	}
	for (int i = 0; i < done; i++)
	{
		bool		was_needed = (converter->was_needed & ((uint32) 1 << i)) != 0;

		up.in_place_only = (converter->speaks_new & ((uint32) 1 << i)) != 0;
		up.fill = !was_needed;
		up.spoken = (converter->spoken & ((uint32) 1 << i)) != 0;
		if (migrate_converter_needs(converter, i))
			set = compute_form(converter, i, up, set);
		else if (!whole && was_needed)
			set = empty_form(converter, i, up, set);
	}
	converter->changed = set;
}

void
migrate_converter_upgrade(Converter *converter, int32 from_version, bool check)
{
	Conversion *conversion = converter->conversion;
	StoreIdentity self;

	if (from_version >= conversion->version)
		return;
	converter_restrict(conversion, &self);
	upgrade(converter, migrations_done(converter, from_version), check);
	converter_unrestrict(conversion, &self);
}

void
migrate_converter_reconcile(Converter *converter, const Bitmapset *set, bool whole)
{
	Conversion *conversion = converter->conversion;
	StoreIdentity self;

	converter_restrict(conversion, &self);
	reconcile(converter, converter->reach, set, whole);
	converter_unrestrict(conversion, &self);
}

void
migrate_converter_reconcile_and_upgrade(Converter *converter, const Bitmapset *set,
										int32 from_version)
{
	Conversion *conversion = converter->conversion;
	int			done = migrations_done(converter, from_version);
	StoreIdentity self;

	converter_restrict(conversion, &self);
	reconcile(converter, done, set, false);
	upgrade(converter, done, false);
	converter_unrestrict(conversion, &self);
}

void
migrate_converter_apply(Converter *converter, int i, bool up)
{
	Extent		all = {.up = up, .whole = true};
	StoreIdentity self;

	converter_restrict(converter->conversion, &self);
	if (!up || migrate_converter_needs(converter, i))
		bms_free(compute_form(converter, i, all, NULL));
	converter_unrestrict(converter->conversion, &self);
}

/* ---- what a row needs ---- */

void
migrate_converter_note_needed(Converter *converter, TupleTableSlot *row, int32 version)
{
	int			done = migrations_done(converter, version);

	converter->econtext->ecxt_scantuple = row;
	for (int i = 0; i < done; i++)
		if (!migrate_converter_needs(converter, i))
			converter->was_needed &= ~((uint32) 1 << i);
	converter->econtext->ecxt_scantuple = converter->slot;
}

/*
 * The first migration that would change the row settles it: up to that one the
 * row has the form that each is asked about.
 */
bool
migrate_converter_is_in_need(Converter *converter, int32 version)
{
	Conversion *conversion = converter->conversion;

	for (int i = migrations_done(converter, version); i < converter->reach; i++)
		if (version < conversion->live[i].needed_from || migrate_converter_needs(converter, i))
			return true;
	return false;
}
