/*
 * write/trigger.c
 *		Keeping both forms of a row in step, whoever writes it.
 *
 * migrate.write_trigger() stands on each table with a live migration as a
 * BEFORE INSERT OR UPDATE row trigger, fired first and always. It finds which
 * columns the statement set (written.c), has the Converter compute the other
 * form from them, and stamps the row with the newest version. What the table's
 * own triggers change after it is seen to by another one (settle.c).
 *
 * Concurrency. The row that an UPDATE starts from was locked and fetched by
 * the executor just before the trigger runs; under READ COMMITTED, if somebody
 * else's change got in between, the new row was computed again from that. So
 * the stored row, what it reads as, and the new row that we compare are of one
 * moment, and no other change can follow until ours ends.
 * What is live cannot change meanwhile: that takes a lock on the table which
 * conflicts with the statement's.
 *
 * Re-entry. An expression may run SQL that writes the same table and so comes
 * back here: each call has a Converter of its own, and keeps its state on the
 * stack. A relcache invalidation that arrives meanwhile makes the next call
 * compile anew; this one's Conversion lives to the end of the transaction. An
 * error leaves the Converter to the transaction's end as well.
 *
 * A row that says its version is taken to be stored in it: a dump being
 * restored, a row replicated from a database that knows the same migrations,
 * a row that an UPDATE moves to another partition (stamped when it left the
 * first). It is upgraded from there. NULL says nothing.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "replication/logicalworker.h"
#include "utils/rel.h"

#include "convert/conversion.h"
#include "convert/converter.h"
#include "convert/excuse.h"
#include "migrate.h"
#include "write/row_write.h"
#include "write/settle.h"
#include "write/written.h"

PGDLLEXPORT Datum migrate_write_trigger(PG_FUNCTION_ARGS);
PG_FUNCTION_INFO_V1(migrate_write_trigger);

/* ---- rows that say their version ---- */

/*
 * Not a constraint's violation: nothing is wrong with the row, but the table
 * is not, or no longer, in the state to take it.
 */
static void
check_version(const RowWrite *write, int32 version)
{
	const Conversion *conversion = write->conversion;
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc,
										   conversion->version_attno - 1);

	if (version >= conversion->floor && version <= conversion->version)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("row version %d is not supported by relation \"%s\"",
					version, RelationGetRelationName(write->rel)),
			 errdetail("Versions %d to %d are supported.",
					   conversion->floor, conversion->version),
			 version > conversion->version ?
			 errhint("Expand the migrations that the row comes from first, or leave out column \"%s\".",
					 NameStr(attr->attname)) :
			 errhint("Write the row in its present form, without column \"%s\".",
					 NameStr(attr->attname))));
}

static HeapTuple
store_in_version(RowWrite *write, int32 version)
{
	HeapTuple	tuple;

	migrate_excuse_note_write(write->conversion, NULL);
	check_version(write, version);
	if (version == write->conversion->version)
		return write->tuple;

	migrate_row_write_begin(write, write->row);
	migrate_converter_load(write->converter, write->row);
	migrate_converter_upgrade(write->converter, version, false);
	tuple = migrate_row_write_take(write);
	migrate_row_write_end(write);
	return tuple;
}

/* ---- INSERT ---- */

static HeapTuple
store_inserted(RowWrite *write)
{
	WrittenInsert written = migrate_written_by_insert(write->conversion, write->rel, write->row);
	HeapTuple	tuple;

	if (written.says_version)
		return store_in_version(write, written.version);

	migrate_row_write_begin(write, write->row);
	migrate_converter_load(write->converter, write->row);
	migrate_excuse_note_write(write->conversion, written.set);
	migrate_converter_reconcile(write->converter, written.set, true);
	tuple = migrate_row_write_take(write);
	migrate_row_write_end(write);
	return tuple;
}

/* ---- UPDATE ---- */

/* Does the write come from another database, with what is stored there? */
static bool
is_replicated(void)
{
	return IsLogicalWorker() || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

/*
 * Does an UPDATE say in which version it stores the row? A publisher that has
 * the column sends it with each row, and means it. A statement does not: a
 * client that writes back all that it has read names a version that the row may
 * have left meanwhile, and an upsert that takes over EXCLUDED's names the
 * newest, of a row that is stale. Only numbers that no row has are refused.
 */
static bool
says_version(const RowWrite *write, const Bitmapset *updated_columns, int32 given)
{
	int			bit = write->conversion->version_attno - FirstLowInvalidHeapAttributeNumber;

	if (given == MIGRATE_VERSION_UNSAID)
		return false;
	return given < 0 || given > write->conversion->version ||
		(is_replicated() && bms_is_member(bit, updated_columns));
}

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

/* Does a migration rewrite in place what those have to do with that the row has behind it? */
static bool
rewrites_older_forms(const Conversion *conversion, int migration, int32 stored_version)
{
	const LiveMigration *live = &conversion->live[migration];

	for (int i = 0; i < migration && conversion->live[i].version <= stored_version; i++)
		if (bms_overlap(live->rewritten, conversion->live[i].touched))
			return true;
	return false;
}

/*
 * Has an UPDATE changed an input of everything that a migration computes? What
 * it had computed for the row as it was does not matter then. (A column that
 * it rewrites may differ from what is stored only for having been read.)
 */
static bool
is_computed_anew(const LiveMigration *live, const Bitmapset *changed)
{
	Bitmapset  *inputs = live->added == NULL ? bms_copy(changed)
		: bms_difference(changed, live->rewritten);
	ListCell   *lc;

	foreach(lc, live->ups)
	{
		const Assignment *up = lfirst(lc);

		if (!up->generated && !bms_overlap(up->inputs, inputs))
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
may_end_need(const RowWrite *write, const LiveMigration *live, TupleTableSlot *stored,
			 const Bitmapset *updated_columns)
{
	Bitmapset  *changed;

	if (live->needed == NULL)
		return false;
	changed = migrate_written_by_update(write->conversion, updated_columns,
										stored, stored, write->row);
	return changed != NULL && !is_computed_anew(live, changed);
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
rewrites_what_is_kept(const RowWrite *write, int migration, TupleTableSlot *stored,
					  const Bitmapset *updated_columns)
{
	const Conversion *conversion = write->conversion;
	Bitmapset  *changed;
	Bitmapset  *reached;
	Bitmapset  *kept;

	if (conversion->live[migration].rewritten == NULL)
		return false;
	changed = migrate_written_by_update(conversion, updated_columns, stored, stored, write->row);
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
 * that only the row's upgrade gives a value to? So it is too with one that the
 * upgrade rewrites in place and that a form which the row has depends on: that
 * the client wrote back what it had read must not count there. (Where no form
 * depends on it, what is written back is the same as what the upgrade makes.)
 */
static bool
concerns_newer_forms(const RowWrite *write, TupleTableSlot *stored, int32 stored_version,
					 const Bitmapset *updated_columns)
{
	const Conversion *conversion = write->conversion;

	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];

		if (live->version <= stored_version)
			continue;
		if (migrate_written_any(conversion, live->added, updated_columns, stored, write->row))
			return true;
		if (may_end_need(write, live, stored, updated_columns) ||
			rewrites_what_is_kept(write, i, stored, updated_columns))
			return true;
		if (rewrites_older_forms(conversion, i, stored_version) &&
			migrate_written_any(conversion, live->rewritten, updated_columns,
								stored, write->row))
			return true;
	}
	return false;
}

/*
 * An UPDATE that speaks the forms that the stale row has: the newer ones are
 * computed from what it makes of them. What the row held before need not be
 * convertible: this is how a row that is not gets mended.
 */
static HeapTuple
store_updated_in_old_forms(RowWrite *write, TupleTableSlot *stored, int32 stored_version,
						   const Bitmapset *updated_columns)
{
	Bitmapset  *set = migrate_written_by_update(write->conversion, updated_columns,
												stored, stored, write->row);
	HeapTuple	tuple;

	migrate_excuse_note_write(write->conversion, set);
	migrate_row_write_begin(write, stored);
	migrate_converter_load(write->converter, write->row);
	migrate_converter_note_needed(write->converter, stored, stored_version);
	migrate_converter_reconcile_and_upgrade(write->converter, set, stored_version);
	tuple = migrate_row_write_take(write);
	migrate_row_write_end(write);
	return tuple;
}

static HeapTuple
store_updated_stale(RowWrite *write, TupleTableSlot *stored, int32 stored_version,
					const Bitmapset *updated_columns)
{
	Bitmapset  *set;
	HeapTuple	tuple;

	migrate_row_write_begin(write, stored);
	migrate_converter_load(write->converter, stored);
	migrate_converter_upgrade(write->converter, stored_version, false);
	migrate_converter_note_needed(write->converter, write->converter->slot,
								  write->conversion->version);
	set = migrate_written_by_update(write->conversion, updated_columns, stored,
									write->converter->slot, write->row);
	migrate_excuse_note_write(write->conversion, set);
	overlay(write, set);
	migrate_converter_reconcile(write->converter, set, false);
	tuple = migrate_row_write_take(write);
	migrate_row_write_end(write);
	return tuple;
}

/* A converted row reads as it is stored, and most writes to it are none of our business. */
static HeapTuple
store_updated_converted(RowWrite *write, TupleTableSlot *stored, int32 given_version,
						const Bitmapset *updated_columns)
{
	Bitmapset  *set = migrate_written_by_update(write->conversion, updated_columns,
												stored, stored, write->row);
	HeapTuple	tuple;

	migrate_excuse_note_write(write->conversion, set);
	if (set == NULL && given_version == write->conversion->version)
		return write->tuple;

	migrate_row_write_begin(write, stored);
	migrate_converter_load(write->converter, write->row);
	migrate_converter_note_needed(write->converter, stored, write->conversion->version);
	migrate_converter_reconcile(write->converter, set, false);
	tuple = migrate_row_write_take(write);
	migrate_row_write_end(write);
	return tuple;
}

static HeapTuple
store_updated(RowWrite *write, TupleTableSlot *stored, const Bitmapset *updated_columns)
{
	AttrNumber	version_attno = write->conversion->version_attno;
	bool		isnull;
	int32		stored_version = DatumGetInt32(slot_getattr(stored, version_attno, &isnull));
	int32		given_version = DatumGetInt32(slot_getattr(write->row, version_attno, &isnull));

	if (isnull)
		given_version = MIGRATE_VERSION_UNSAID;
	if (says_version(write, updated_columns, given_version))
		return store_in_version(write, given_version);
	if (stored_version >= write->conversion->version)
		return store_updated_converted(write, stored, given_version, updated_columns);
	if (concerns_newer_forms(write, stored, stored_version, updated_columns))
		return store_updated_stale(write, stored, stored_version, updated_columns);
	return store_updated_in_old_forms(write, stored, stored_version, updated_columns);
}

/* ---- the trigger ---- */

Datum
migrate_write_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	RowWrite	write;
	HeapTuple	result;

	migrate_row_write_check_protocol(fcinfo, "write_trigger");
	migrate_row_write_init(&write, trigger);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		result = store_updated(&write, trigger->tg_trigslot, trigger->tg_updatedcols);
	else
		result = store_inserted(&write);
	migrate_settle_remember(trigger, write.conversion, result);
	return PointerGetDatum(result);
}
