/*
 * write/written.c
 *		Which columns a statement set.
 *
 * INSERT. A planned one was marked by the planner with the live migrations
 * whose new form it names (read/). Live migrations come and go only under a
 * lock that conflicts with the INSERT's, so the mark and the conversion speak
 * of the same ones. COPY's columns are known from its statement. What is left
 * names all columns, whatever it knows of them: logical replication, which
 * stores each row of the publisher with the defaults of what the publisher does
 * not have, and who inserts records. There a new-form column that holds something
 * else must have been meant.
 *
 * UPDATE. A column was set if it was named and differs from what the row read
 * as: a client that writes back all that it has read has only set what it
 * changed. The reading is what matters there, not what was stored: a stale
 * row's new-form columns are NULL, and a client that names one and says NULL
 * has set it. What was not named but differs from what was stored was changed
 * by a trigger that came before ours. The others hold what was stored, which
 * in a stale row is not yet anything at all.
 *
 * "Differs" is by image, not by the type's equality: 1.0 and 1.00, or two
 * spellings in a case-insensitive type, are a change that somebody made.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/datum.h"

#include "catalog/store.h"
#include "convert/pin.h"
#include "migrate.h"
#include "write/copy_frame.h"
#include "write/written.h"

/* Are two values the same, bit for bit? */
static bool
same_value(Form_pg_attribute attr, Datum a, bool a_isnull, Datum b, bool b_isnull)
{
	if (a_isnull || b_isnull)
		return a_isnull && b_isnull;
	if (attr->attlen == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a)) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b),
			   VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
		return true;			/* one toasted value: no need to fetch it */
	return datum_image_eq(a, b, attr->attbyval, attr->attlen);
}

/* ---- INSERT ---- */

/* The new-form columns of the migrations that the planner marked. */
static const Bitmapset *
marked_columns(const Conversion *conversion, uint32 forms)
{
	const Bitmapset *columns = NULL;

	for (int i = 0; i < conversion->nlive; i++)
		if (forms & ((uint32) 1 << i))
			columns = columns == NULL ? conversion->live[i].added
				: bms_union(columns, conversion->live[i].added);
	return columns;
}

/* A default without its constants, which are computed as the table's owner: nobody asked for it. */
static Node *
fold(Relation rel, Node *expr)
{
	StoreIdentity self;

	if (IsA(expr, Const))
		return expr;
	migrate_store_become_restricted(&self, rel->rd_rel->relowner);
	expr = eval_const_expressions(NULL, expr);
	migrate_store_become_self(&self);
	return expr;
}

/* Is it what a row gets there that says nothing? A default that is not constant never is. */
static bool
is_default(Relation rel, AttrNumber attno, Datum value)
{
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attno - 1);
	Node	   *expr = build_column_default(rel, attno);

	if (expr == NULL)
		return false;
	expr = fold(rel, expr);
	if (!IsA(expr, Const))
		return true;
	return same_value(attr, value, false,
					  ((Const *) expr)->constvalue, ((Const *) expr)->constisnull);
}

static const Bitmapset *
sent_columns(const Conversion *conversion, Relation rel, TupleTableSlot *row)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < conversion->nlive; i++)
	{
		int			attno = -1;

		while ((attno = bms_next_member(conversion->live[i].added, attno)) >= 0)
		{
			bool		isnull;
			Datum		value = slot_getattr(row, attno, &isnull);

			if (!isnull && !is_default(rel, attno, value))
				columns = bms_add_member(columns, attno);
		}
	}
	return columns;
}

/* A mark has no bit beyond the live migrations; a number that has was not made by us. */
static bool
is_mark(const Conversion *conversion, int32 version)
{
	return version < 0 && MIGRATE_MARKED_FORMS(version) >> conversion->nlive == 0;
}

/*
 * A version that is NULL says nothing: it comes from who inserts a whole row,
 * made as a record of the table's type, of which he fills in what he knows.
 */
WrittenInsert
migrate_written_by_insert(const Conversion *conversion, Relation rel, TupleTableSlot *row)
{
	bool		isnull;
	int32		version = DatumGetInt32(slot_getattr(row, conversion->version_attno, &isnull));
	WrittenInsert written = {false, version, NULL};

	if (isnull)
		written.set = sent_columns(conversion, rel, row);
	else if (is_mark(conversion, version))
		written.set = marked_columns(conversion, MIGRATE_MARKED_FORMS(version));
	else if (version != MIGRATE_VERSION_UNSAID)
		written.says_version = true;
	else if (migrate_copy_frame_find(rel, &written.set))
		written.says_version = bms_is_member(conversion->version_attno, written.set);
	else
		written.set = sent_columns(conversion, rel, row);
	return written;
}

Bitmapset *
migrate_written_old_form(const LiveMigration *live)
{
	Bitmapset  *old_form = bms_copy(live->removed);
	ListCell   *lc;

	foreach(lc, live->downs)
		old_form = bms_add_member(old_form, ((Assignment *) lfirst(lc))->target);
	return old_form;
}

bool
migrate_written_says_nothing(Relation rel, TupleTableSlot *row, const Bitmapset *columns)
{
	int			attno = -1;

	while ((attno = bms_next_member(columns, attno)) >= 0)
	{
		bool		isnull;
		Datum		value = slot_getattr(row, attno, &isnull);

		if (!isnull && !is_default(rel, attno, value))
			return false;
	}
	return true;
}

const Bitmapset *
migrate_written_by_pinned(const Conversion *conversion, Relation rel, TupleTableSlot *row,
						  const Bitmapset *set)
{
	uint32		speaks = migrate_pin_speaks(conversion);

	for (int i = 0; speaks >> i != 0; i++)
		if ((speaks >> i & 1) != 0 && !bms_overlap(conversion->live[i].added, set) &&
			migrate_written_says_nothing(rel, row, migrate_written_old_form(&conversion->live[i])))
			set = bms_union(set, conversion->live[i].added);
	return set;
}

/* ---- UPDATE ---- */

static bool
is_named(AttrNumber attno, const Bitmapset *updated_columns)
{
	return bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, updated_columns);
}

/* Has a column one value in two rows? */
static bool
same_in_rows(const Conversion *conversion, AttrNumber attno, TupleTableSlot *a, TupleTableSlot *b)
{
	bool		a_isnull;
	bool		b_isnull;
	Datum		a_value = slot_getattr(a, attno, &a_isnull);
	Datum		b_value = slot_getattr(b, attno, &b_isnull);

	return same_value(TupleDescAttr(conversion->tupdesc, attno - 1),
					  a_value, a_isnull, b_value, b_isnull);
}

Bitmapset *
migrate_written_by_update(const Conversion *conversion, const Bitmapset *updated_columns,
						  TupleTableSlot *stored, TupleTableSlot *logical,
						  TupleTableSlot *row)
{
	Bitmapset  *set = NULL;
	int			attno = -1;

	while ((attno = bms_next_member(conversion->touched, attno)) >= 0)
	{
		TupleTableSlot *was = is_named(attno, updated_columns) ? logical : stored;

		if (!TupleDescAttr(conversion->tupdesc, attno - 1)->attgenerated &&
			!same_in_rows(conversion, attno, was, row))
			set = bms_add_member(set, attno);
	}
	return set;
}

bool
migrate_written_any(const Conversion *conversion, const Bitmapset *columns,
					const Bitmapset *updated_columns,
					TupleTableSlot *stored, TupleTableSlot *row)
{
	int			attno = -1;

	while ((attno = bms_next_member(columns, attno)) >= 0)
		if (is_named(attno, updated_columns) || !same_in_rows(conversion, attno, stored, row))
			return true;
	return false;
}
