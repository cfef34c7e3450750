/*
 * write/carry_out.c
 *		Computing the row that a write stores, though up may fail for it.
 *
 * While writes to a migration with on_error => 'defer' may be deferred, the row
 * is computed in a subtransaction. Where up of such a migration raises an error
 * about the data, the row is computed again without that migration and those
 * after it, and stored in the version just below: it is stale, and reads and is
 * tried again like any stale row. Triggers that fire when it is stored record it
 * (write/deferred.c). No other error is caught for good: not that of a down, for
 * what the new form says would be lost; nor what a cancel, a full disk, a
 * deadlock or a bug raises; nor that of another migration's up.
 *
 * In a chain the ups run oldest first, so that what comes before the first that
 * fails has succeeded. Computed again without it, another may fail, an older
 * one: the reach only gets shorter.
 *
 * Nothing of the new form is lost by it. A statement that sets a column beyond
 * the reach is refused, with the error of up. So is one that would take a row
 * out of a version in which a column holds what up does not give: somebody wrote
 * that in the new form. But where the statement changed what up computes the
 * column from, it would have been overwritten anyway.
 *
 * A table without such a migration pays for the test of a flag.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "catalog/try.h"
#include "write/carry_out.h"
#include "write/minimum.h"

typedef struct Attempt
{
	RowWrite   *write;
	RowWriteStep step;
	MemoryContext context;		/* where the tuple is to be */
	HeapTuple	tuple;
	AttrNumber	lost;			/* a column whose value it would lose; 0: none */
	const LiveMigration *culprit;	/* whose up failed; NULL: no one's */
} Attempt;

/* ---- computing it ---- */

/* A column beyond the reach with a value that must not be lost, or 0. */
static AttrNumber
find_lost(RowWrite *write)
{
	const Conversion *conversion = write->conversion;

	for (int i = write->reach; i < conversion->nlive; i++)
		if (bms_overlap(conversion->live[i].added, write->set))
			return bms_next_member(bms_intersect(conversion->live[i].added, write->set), -1);
	if (write->stored == NULL || write->reach == conversion->nlive)
		return InvalidAttrNumber;
	return migrate_converter_find_lost(write->converter, write->stored, write->stored_version);
}

static void
compute(Attempt *attempt)
{
	RowWrite   *write = attempt->write;
	MemoryContext old;

	migrate_row_write_begin(write);
	attempt->step(write);
	migrate_minimum_check(write);
	attempt->lost = find_lost(write);
	old = MemoryContextSwitchTo(attempt->context);
	attempt->tuple = migrate_row_write_take(write);
	write->set = bms_copy(write->set);
	MemoryContextSwitchTo(old);
	migrate_row_write_end(write);
}

static void
compute_or_blame(void *arg)
{
	Attempt    *attempt = arg;

	PG_TRY();
	{
		compute(attempt);
	}
	PG_CATCH();
	{
		const Converter *converter = attempt->write->converter;

		if (converter != NULL && !converter->evaluating_down)
			attempt->culprit = converter->evaluating;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- putting up with what fails ---- */

static void
refuse_loss(const Attempt *attempt, ErrorData *error)
{
	const Conversion *conversion = attempt->write->conversion;
	char	   *why = psprintf("The row cannot be kept in its old form alone: what column \"%s\" holds would be lost.",
							   NameStr(TupleDescAttr(conversion->tupdesc,
													 attempt->lost - 1)->attname));

	if (error->detail == NULL)
		error->detail = why;
	else if (error->hint == NULL)
		error->hint = why;
	ReThrowError(error);
}

/* What failed is beyond the reach where it was looked at to see if it would be lost. */
static bool
may_do_without(const Attempt *attempt, const ErrorData *error)
{
	const RowWrite *write = attempt->write;

	return attempt->culprit != NULL && migrate_conversion_may_defer(attempt->culprit) &&
		attempt->culprit < &write->conversion->live[write->reach] &&
		migrate_try_is_about_data(error);
}

static HeapTuple
compute_what_can_be(Attempt *attempt)
{
	ErrorData  *reason = NULL;
	ErrorData  *error;
	const Bitmapset *set = attempt->write->set;

	while ((error = migrate_try(compute_or_blame, attempt)) != NULL)
	{
		if (!may_do_without(attempt, error))
			ReThrowError(error);
		reason = error;
		attempt->write->reach = attempt->culprit - attempt->write->conversion->live;
		attempt->write->set = set;
		attempt->culprit = NULL;
	}
	if (attempt->lost != InvalidAttrNumber)
		refuse_loss(attempt, reason);
	return attempt->tuple;
}

HeapTuple
migrate_carry_out(RowWrite *write, RowWriteStep step)
{
	Attempt		attempt = {write, step, CurrentMemoryContext};

	if (write->conversion->defers)
		return compute_what_can_be(&attempt);
	compute(&attempt);
	return attempt.tuple;
}
