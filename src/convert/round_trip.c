/*
 * convert/round_trip.c
 *		Whether up gives back what a row holds in the new form.
 *
 * Up of a row that it has rewritten in place must change nothing; what it does not
 * give of the old form is lost with the new one, where a row goes without that; and
 * what it does not give of the old form that down has made is what clients of the old
 * form cannot express.
 *
 * Values are compared by their bytes, as they are stored, and not by their type's
 * equality: 1.0 and 1.00, '1 day' and '24 hours', or two spellings in a
 * case-insensitive type are equal, yet who wrote the one would not find it in the other.
 */
#include "postgres.h"

#include "utils/datum.h"

#include "convert/converter.h"
#include "convert/converter_private.h"

static bool
holds(const Converter *converter, const TupleTableSlot *row, AttrNumber attno,
	  Datum value, bool isnull)
{
	Form_pg_attribute attr = TupleDescAttr(converter->conversion->tupdesc, attno - 1);

	if (isnull || row->tts_isnull[attno - 1])
		return isnull && row->tts_isnull[attno - 1];
	return datum_image_eq(value, row->tts_values[attno - 1], attr->attbyval, attr->attlen);
}

/*
 * Does assignment n of up, of what the row being evaluated holds, give what a row has in
 * its column? "needed" is whether up is applied at all: it gives NULL where it is not.
 */
static bool
gives(Converter *converter, int i, int n, bool needed, const TupleTableSlot *row)
{
	LiveMigration *migration = &converter->conversion->live[i];
	Assignment *up = list_nth(migration->ups, n);
	Datum		given = (Datum) 0;
	bool		given_isnull = true;

	if (needed)
		given = converter_evaluate(converter, migration, up,
						 list_nth(list_nth(converter->ups, i), n), true, &given_isnull);
	return holds(converter, row, up->target, given, given_isnull);
}

/* Does up, applied to its own result, change it? */
static AttrNumber
find_unstable(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];

	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (!up->generated && !gives(converter, i, n, true, converter->slot))
			return up->target;
	}
	return InvalidAttrNumber;
}

void
round_trip_check_idempotence(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];
	AttrNumber	unstable = find_unstable(converter, i);

	if (unstable == InvalidAttrNumber)
		return;
	converter->evaluating = migration;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("\"up\" of migration \"%s\" gives column \"%s\" another value each time it is applied",
					migration->name,
					NameStr(TupleDescAttr(converter->conversion->tupdesc, unstable - 1)->attname)),
			 errdetail("It rewrites columns in place, so it is applied to rows that are converted already."),
			 errhint("Have it leave alone what it has made.")));
}

AttrNumber
migrate_converter_find_unstable(Converter *converter, int i)
{
	AttrNumber	unstable;
	StoreIdentity self;

	converter_restrict(converter->conversion, &self);
	unstable = find_unstable(converter, i);
	converter_unrestrict(converter->conversion, &self);
	return unstable;
}

/* Does a row that is stored in the form of live migration i have there what is nowhere else? */
static AttrNumber
find_lost(Converter *converter, int i, TupleTableSlot *stored)
{
	LiveMigration *migration = &converter->conversion->live[i];
	bool		needed = migrate_converter_needs(converter, i);

	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (up->in_place || up->generated)
			continue;
		if (bms_overlap(up->inputs, converter->changed))
			converter->changed = bms_add_member(converter->changed, up->target);
		else if (!gives(converter, i, n, needed, stored))
			return up->target;
	}
	return InvalidAttrNumber;
}

AttrNumber
migrate_converter_find_lost(Converter *converter, TupleTableSlot *stored, int32 version)
{
	Conversion *conversion = converter->conversion;
	AttrNumber	lost = InvalidAttrNumber;
	StoreIdentity self;

	slot_getallattrs(stored);
	converter->econtext->ecxt_scantuple = stored;
	converter_restrict(conversion, &self);
	for (int i = converter->reach; i < conversion->nlive && lost == InvalidAttrNumber &&
								   conversion->live[i].version <= version;
		 i++)
		lost = find_lost(converter, i, stored);
	converter_unrestrict(conversion, &self);
	converter->econtext->ecxt_scantuple = converter->slot;
	return lost;
}

/*
 * A column that up makes of nothing in the row (a constant, a default) stands beside the
 * old form, as one that up does not assign: no write of the old form touches it.
 */
static AttrNumber
find_unrepresented(Converter *converter, int i, bool whole)
{
	LiveMigration *migration = &converter->conversion->live[i];

	if (!migrate_converter_needs(converter, i))
		return InvalidAttrNumber;
	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (up->in_place || up->generated || up->inputs == NULL)
			continue;
		if ((whole || bms_is_member(up->target, converter->changed) ||
			 bms_overlap(up->inputs, converter->changed)) &&
			!gives(converter, i, n, true, converter->slot))
			return up->target;
	}
	return InvalidAttrNumber;
}

int
migrate_converter_find_unrepresented(Converter *converter, bool whole, AttrNumber *column)
{
	Conversion *conversion = converter->conversion;
	int			found = -1;
	StoreIdentity self;

	converter_restrict(conversion, &self);
	for (int i = 0; i < converter->reach && found < 0; i++)
	{
		if ((converter->speaks_new & ((uint32) 1 << i)) == 0 ||
			conversion->live[i].lacked_by == NULL)
			continue;
		*column = find_unrepresented(converter, i, whole);
		if (*column != InvalidAttrNumber)
			found = i;
	}
	converter_unrestrict(conversion, &self);
	return found;
}

/* ---- whether either form was made of the other ---- */

static bool
is_made_by_up(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];
	bool		needed = migrate_converter_needs(converter, i);

	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (!up->in_place && !up->generated && !gives(converter, i, n, needed, converter->slot))
			return false;
	}
	return true;
}

static bool
is_made_by_down(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];

	for (int n = 0; n < list_length(migration->downs); n++)
	{
		Assignment *down = list_nth(migration->downs, n);
		ExprState  *state = list_nth(list_nth(converter->downs, i), n);
		bool		isnull;
		Datum		given = converter_evaluate(converter, migration, down, state, false, &isnull);

		if (!holds(converter, converter->slot, down->target, given, isnull))
			return false;
	}
	return true;
}

bool
migrate_converter_forms_agree(Converter *converter, int i)
{
	bool		agree;
	StoreIdentity self;

	converter_restrict(converter->conversion, &self);
	agree = is_made_by_up(converter, i) || is_made_by_down(converter, i);
	converter_unrestrict(converter->conversion, &self);
	return agree;
}
