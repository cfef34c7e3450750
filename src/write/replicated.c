/*
 * write/replicated.c
 *		What is missing of a row that another database has sent with its version.
 *
 * A replicated row says by its version which forms it has, and these are taken as they
 * come: both were in step where it was written. But not all of it need be sent.
 *
 * - Of an UPDATE, a value that is stored out of line and was not changed is left out.
 *   The row here has it; where that is stale (the publisher's own conversions may be
 *   filtered out, or have come before the column was published) it has it once converted.
 * - A publisher that has contracted a migration, before its subscribers, sends its new
 *   form alone; one that has rolled it back, the old one. The row versions that either
 *   stores go on to be what they were.
 *
 * So a form of which an UPDATE sends nothing is computed from the other, where that
 * changes; of one that is sent in part, the rest is what it was. An INSERT does not show
 * what was sent: a column that was not has NULL or its default. There a form that says
 * nothing is computed from the other if neither is what the other gives, for then they
 * were never in step; where there are no ups or no downs, that cannot be told, and what
 * came is stored.
 *
 * A migration that gives a column a new type under its name is a case apart. Contracted,
 * the publisher sends the new value by the name that the old column has here. That is
 * told by the new column's absence, and refused: the subscriber has to follow first.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "utils/rel.h"

#include "convert/converter.h"
#include "write/replicated.h"
#include "write/written.h"

/* The live migrations that a row of some version has behind it. */
static int
count_done(const Conversion *conversion, int32 version)
{
	int			done = 0;

	while (done < conversion->nlive && conversion->live[done].version <= version)
		done++;
	return done;
}

static void
refuse_one_name(const RowWrite *write, const LiveMigration *live)
{
	AttrNumber	column = bms_next_member(live->replaced, -1);
	const char *name = NameStr(TupleDescAttr(write->conversion->tupdesc, column - 1)->attname);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of a replicated row of relation \"%s\" may be of either type",
					name, RelationGetRelationName(write->rel)),
			 errdetail("The row has the form of migration \"%s\", but came without its new column, so the publisher has contracted the migration or rolled it back.",
					   live->name),
			 errhint("Do the same here: replication goes on from this row.")));
}

/* ---- INSERT ---- */

/* The columns of the one form of a migration that came, where the other says nothing; else NULL. */
static Bitmapset *
form_that_came(const RowWrite *write, const LiveMigration *live)
{
	Bitmapset  *old_form = migrate_written_old_form(live);
	bool		lacks_new;
	bool		lacks_old;

	if (live->ups == NIL || live->downs == NIL || live->added == NULL)
		return NULL;
	lacks_new = migrate_written_says_nothing(write->rel, write->row, live->added);
	lacks_old = migrate_written_says_nothing(write->rel, write->row, old_form);
	if (lacks_new == lacks_old)
		return NULL;
	return lacks_new ? old_form : bms_copy(live->added);
}

bool
migrate_replicated_lacks_form(const RowWrite *write, int32 version)
{
	int			done = count_done(write->conversion, version);

	for (int i = 0; i < done; i++)
		if (form_that_came(write, &write->conversion->live[i]) != NULL)
			return true;
	return false;
}

/* Which columns are to be taken for set: from them the form that did not come is computed. */
static Bitmapset *
set_by_insert(const RowWrite *write, int i)
{
	const LiveMigration *live = &write->conversion->live[i];
	Bitmapset  *came = form_that_came(write, live);

	if (came == NULL || migrate_converter_forms_agree(write->converter, i))
		return NULL;
	if (bms_overlap(live->replaced, came))
		refuse_one_name(write, live);
	return came;
}

void
migrate_replicated_insert(RowWrite *write)
{
	Converter  *converter = write->converter;
	int			done = count_done(write->conversion, write->stored_version);
	Bitmapset  *set = NULL;

	migrate_converter_load(converter, write->row);
	for (int i = 0; i < done; i++)
		set = bms_join(set, set_by_insert(write, i));
	if (set != NULL)
		migrate_converter_reconcile(converter, set, false);
	migrate_converter_upgrade(converter, write->stored_version, false);
}

/* ---- UPDATE ---- */

/* The columns that came, but those beyond a version, in which nothing is yet. */
static Bitmapset *
sent_columns(const RowWrite *write, int32 version)
{
	const Conversion *conversion = write->conversion;
	Bitmapset  *sent = NULL;
	int			bit = -FirstLowInvalidHeapAttributeNumber;

	while ((bit = bms_next_member(write->updated_columns, bit)) >= 0)
		sent = bms_add_member(sent, bit + FirstLowInvalidHeapAttributeNumber);
	for (int i = count_done(conversion, version); i < conversion->nlive; i++)
		sent = bms_del_members(sent, conversion->live[i].added);
	return sent;
}

bool
migrate_replicated_is_partial(const RowWrite *write, int32 version)
{
	const Conversion *conversion = write->conversion;
	Bitmapset  *missing = bms_difference(conversion->touched, sent_columns(write, version));
	int			attno = -1;

	for (int i = count_done(conversion, version); i < conversion->nlive; i++)
		missing = bms_del_members(missing, conversion->live[i].added);
	while ((attno = bms_next_member(missing, attno)) >= 0)
		if (!TupleDescAttr(conversion->tupdesc, attno - 1)->attgenerated)
			return true;
	return false;
}

/* Of what came, that which differs from the row as it reads here. */
static Bitmapset *
changed_columns(const RowWrite *write, const Bitmapset *sent)
{
	return bms_int_members(migrate_written_by_update(write->conversion, write->updated_columns,
													 write->stored, write->converter->slot,
													 write->row), sent);
}

/* Where something of both forms came, they were in step: nothing is computed from them. */
static void
leave_out_whole_rows(const RowWrite *write, int done, const Bitmapset *sent, Bitmapset **set)
{
	for (int i = 0; i < done; i++)
	{
		const LiveMigration *live = &write->conversion->live[i];
		Bitmapset  *old_form = migrate_written_old_form(live);

		if (bms_overlap(live->added, sent) && bms_overlap(old_form, sent))
			*set = bms_del_members(bms_del_members(*set, live->added), old_form);
		else if (bms_overlap(live->replaced, *set))
			refuse_one_name(write, live);
	}
}

/* What no migration has to do with is in the row as it is to be stored anyway. */
static void
put(RowWrite *write, const Bitmapset *sent)
{
	TupleTableSlot *slot = write->converter->slot;
	TupleTableSlot *row = write->row;

	slot_getallattrs(row);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		if (bms_is_member(i + 1, write->conversion->touched) && !bms_is_member(i + 1, sent))
			continue;
		slot->tts_values[i] = row->tts_values[i];
		slot->tts_isnull[i] = row->tts_isnull[i];
	}
}

/* What came stays as it is, whatever else is computed from it. */
void
migrate_replicated_update(RowWrite *write)
{
	Converter  *converter = write->converter;
	const Conversion *conversion = write->conversion;
	int32		version = write->sent_version;
	Bitmapset  *sent = sent_columns(write, version);
	Bitmapset  *set;

	migrate_converter_load(converter, write->stored);
	migrate_converter_upgrade(converter, write->stored_version, false);
	migrate_converter_note_needed(converter, converter->slot, conversion->version);
	set = changed_columns(write, sent);
	leave_out_whole_rows(write, count_done(conversion, version), sent, &set);
	put(write, sent);
	migrate_converter_reconcile(converter, set, false);
	put(write, sent);
	migrate_converter_upgrade(converter, version, false);
}
