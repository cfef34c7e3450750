/*
 * write/trigger.c
 *		Keeping both forms of a row in step, whoever writes it.
 *
 * migrate.write_trigger() stands on each table with a live migration as a
 * BEFORE INSERT OR UPDATE row trigger, fired first and always. It finds which
 * columns the statement set (written.c), has the Converter compute the other
 * form from them, and stamps the row with the newest version; where an up fails
 * that may be put up with (carry_out.c). What the table's
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
#include "utils/rel.h"

#include "convert/conversion.h"
#include "convert/converter.h"
#include "convert/excuse.h"
#include "migrate.h"
#include "write/carry_out.h"
#include "write/replicated.h"
#include "write/row_write.h"
#include "write/settle.h"
#include "write/supported.h"
#include "write/update.h"
#include "write/written.h"

PGDLLEXPORT Datum migrate_write_trigger(PG_FUNCTION_ARGS);
PG_FUNCTION_INFO_V1(migrate_write_trigger);

/* ---- rows that say their version ---- */

static void
check_version(const RowWrite *write, int32 version)
{
	const Conversion *conversion = write->conversion;
	AttrNumber	column = conversion->version_attno;
	SupportedVersions supported = {
		.root = conversion->root,
		.column = NameStr(TupleDescAttr(conversion->tupdesc, column - 1)->attname),
		.floor = conversion->floor,
		.newest = conversion->version
	};

	migrate_supported_check(&supported, RelationGetRelid(write->rel), version);
}

static void
upgrade(RowWrite *write)
{
	migrate_converter_load(write->converter, write->row);
	migrate_converter_upgrade(write->converter, write->stored_version, false);
}

static HeapTuple
store_in_version(RowWrite *write, int32 version)
{
	check_version(write, version);
	if (version == write->conversion->version)
		return write->tuple;
	write->stored_version = version;
	return migrate_carry_out(write, upgrade);
}

/* Of a row that another database sends, something may be missing. */
static HeapTuple
store_sent(RowWrite *write, int32 version)
{
	check_version(write, version);
	if (!migrate_replicated_lacks_form(write, version))
		return store_in_version(write, version);
	write->stored_version = version;
	return migrate_carry_out(write, migrate_replicated_insert);
}

static HeapTuple
store_sent_upon(RowWrite *write, int32 version, TupleTableSlot *stored)
{
	AttrNumber	version_attno = write->conversion->version_attno;
	bool		isnull;

	check_version(write, version);
	write->sent_version = version;
	write->stored = write->named = stored;
	write->stored_version = DatumGetInt32(slot_getattr(stored, version_attno, &isnull));
	return migrate_carry_out(write, migrate_replicated_update);
}

/* ---- INSERT ---- */

static void
compute_both_forms(RowWrite *write)
{
	migrate_converter_load(write->converter, write->row);
	migrate_converter_reconcile(write->converter, write->set, true);
}

static HeapTuple
store_inserted(RowWrite *write)
{
	WrittenInsert written = migrate_written_by_insert(write->conversion, write->rel, write->row);

	write->is_stored = written.says_version;
	if (write->is_stored)
		return migrate_row_write_is_replicated() ? store_sent(write, written.version)
			: store_in_version(write, written.version);
	write->set = migrate_written_by_pinned(write->conversion, write->rel, write->row, written.set);
	return migrate_carry_out(write, compute_both_forms);
}

/* ---- UPDATE ---- */

/*
 * Does an UPDATE say in which version it stores the row? A publisher that has
 * the column sends it with each row, and means it. A statement does not: a
 * client that writes back all that it has read names a version that the row may
 * have left meanwhile, and an upsert that takes over EXCLUDED's names the
 * newest, of a row that is stale. Only numbers that no row has are refused.
 */
static bool
says_version(const RowWrite *write, int32 given)
{
	int			bit = write->conversion->version_attno - FirstLowInvalidHeapAttributeNumber;

	if (given == MIGRATE_VERSION_UNSAID)
		return false;
	return given < 0 || given > write->conversion->version ||
		(migrate_row_write_is_replicated() && bms_is_member(bit, write->updated_columns));
}

static HeapTuple
store_updated(RowWrite *write, const TriggerData *trigger)
{
	AttrNumber	version_attno = write->conversion->version_attno;
	bool		isnull;
	int32		given = DatumGetInt32(slot_getattr(write->row, version_attno, &isnull));

	if (isnull)
		given = MIGRATE_VERSION_UNSAID;
	write->updated_columns = trigger->tg_updatedcols;
	if (says_version(write, given))
		return migrate_replicated_is_partial(write, given)
			? store_sent_upon(write, given, trigger->tg_trigslot)
			: store_in_version(write, given);
	write->stored = write->named = trigger->tg_trigslot;
	write->stored_version = DatumGetInt32(slot_getattr(write->stored, version_attno, &isnull));
	return migrate_update_store(write, given);
}

/* ---- the trigger ---- */

static void
note_for_constraints(const RowWrite *write, const TriggerData *trigger)
{
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		migrate_excuse_note_write(write->conversion, write->set);
		migrate_excuse_note_update(write->conversion);
	}
	else if (write->is_stored)
		migrate_excuse_note_stored(write->conversion);
	else
		migrate_excuse_note_write(write->conversion, write->set);
}

Datum
migrate_write_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	RowWrite	write;
	HeapTuple	result;

	migrate_row_write_check_protocol(fcinfo, "write_trigger");
	migrate_row_write_init(&write, trigger);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		result = store_updated(&write, trigger);
	else
		result = store_inserted(&write);
	note_for_constraints(&write, trigger);
	migrate_settle_remember(trigger, write.conversion, result);
	return PointerGetDatum(result);
}
