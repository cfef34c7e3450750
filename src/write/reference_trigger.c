/*
 * write/reference_trigger.c
 *		Holding writes of a new form to its REFERENCES before there is a foreign key.
 *
 * A foreign key of the server's holds for everybody who writes, so it cannot be
 * there while clients of the old form may not be bothered with it. Until then
 * migrate.reference_trigger() stands on the table, an AFTER row trigger (a
 * deferrable one where the constraint is) with the condition
 *
 *		WHEN (NOT migrate.excused(migration))
 *
 * which the server evaluates just after it has stored the row, when the write
 * trigger's note is still about it (convert/excuse.c). It does what the server
 * does for a foreign key: takes FOR KEY SHARE on the referenced row, with the
 * rights of that table's owner. So a referenced row cannot go before the writer
 * has committed. After that it can, and so it can while stale rows refer to it:
 * the search for rows that break the constraint finds those, and the server's
 * validation has the last word (lifecycle/reference.c).
 *
 * What is asked is planned once for a session and trigger, and anew after a
 * change of the referenced table.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/own_statement.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/converter.h"
#include "write/reference.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_reference_trigger);

/* What a trigger asks. */
typedef struct Question
{
	Oid			trigger;		/* hash key */
	AttrNumber	attno;			/* of the referring column */
	Oid			referenced;
	SPIPlanPtr	plan;			/* NULL: not made yet */
} Question;

static HTAB *questions = NULL;

static void
refuse_call(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" cannot be called like this", "reference_trigger"),
			 errdetail_internal("%s", detail)));
}

static void
check_protocol(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		refuse_call("It is a trigger's.");
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)))
		refuse_call("It is for row triggers AFTER INSERT OR UPDATE.");
}

/* ---- what is asked ---- */

/* As the owner of the referenced table, as the server does it for a foreign key. */
static void
become_referenced_owner(Oid referenced, StoreIdentity *self)
{
	GetUserIdAndSecContext(&self->userid, &self->sec_context);
	SetUserIdAndSecContext(migrate_store_relation_owner(referenced),
						   self->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
}

static void
become_writer(const StoreIdentity *self)
{
	SetUserIdAndSecContext(self->userid, self->sec_context);
}

static SPIPlanPtr
prepare(const Reference *reference, Oid type)
{
	char	   *sql = psprintf("%s FOR KEY SHARE OF p", migrate_reference_query(reference, "$1"));
	StoreIdentity self;
	SPIPlanPtr	plan;

	become_referenced_owner(reference->relid, &self);
	plan = SPI_prepare(sql, 1, &type);
	become_writer(&self);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

/* False where there is nothing to ask: the trigger is somebody else's, or left over. */
static bool
load(Question *question, Relation rel, const char *name)
{
	Conversion *conversion = migrate_conversion_get(RelationGetRelid(rel));
	char	   *found[3];
	Reference	reference;
	Oid			type;

	if (conversion == NULL ||
		!migrate_store_fetch_row("SELECT a.column_name, a.referenced::oid, a.referenced_column"
								 " FROM migrate.added_reference a"
								 " JOIN migrate.migration m ON m.name = a.migration"
								 " WHERE m.relation = $1 AND m.state = 'expanded' AND a.name = $2",
								 STORE_ARGS(store_relation(conversion->root), store_name(name)),
								 lengthof(found), found))
		return false;
	question->attno = get_attnum(RelationGetRelid(rel), found[0]);
	question->referenced = atooid(found[1]);
	type = get_atttype(RelationGetRelid(rel), question->attno);
	LockRelationOid(question->referenced, RowShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(question->referenced)))
		return false;
	reference = migrate_reference_resolve(question->referenced, found[2], type);
	question->plan = prepare(&reference, type);
	return true;
}

static Question *
find_question(const Trigger *trigger, Relation rel)
{
	Question   *question;
	bool		found;

	if (questions == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Question)};

		questions = hash_create("migrate references", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	question = hash_search(questions, &trigger->tgoid, HASH_ENTER, &found);
	if (!found)
		question->plan = NULL;
	if (question->plan != NULL && !SPI_plan_is_valid(question->plan))
	{
		SPI_freeplan(question->plan);
		question->plan = NULL;
	}
	if (question->plan == NULL && !load(question, rel, trigger->tgname))
		return NULL;
	return question;
}

/* ---- asking ---- */

static bool
is_there(const Question *question, Datum value)
{
	ParamListInfo params = migrate_own_params(1);
	StoreIdentity self;
	int			rc;

	params->params[0].value = value;
	params->params[0].isnull = false;
	params->params[0].pflags = PARAM_FLAG_CONST;
	params->params[0].ptype = SPI_getargtypeid(question->plan, 0);
	become_referenced_owner(question->referenced, &self);
	rc = SPI_execute_plan_with_paramlist(question->plan, params, false, 1);
	become_writer(&self);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of a query: %s", SPI_result_code_string(rc));
	return SPI_processed > 0;
}

static char *
value_text(Relation rel, AttrNumber attno, Datum value)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid,
					  &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

static bool
may_be_shown(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	return check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED &&
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

static void
refuse_row(const TriggerData *trigger, const Question *question, Datum value)
{
	Relation	rel = trigger->tg_relation;

	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("insert or update on table \"%s\" violates foreign key constraint \"%s\"",
					RelationGetRelationName(rel), trigger->tg_trigger->tgname),
			 may_be_shown(rel)
			 ? errdetail("Key (%s)=(%s) is not present in table \"%s\".",
						 get_attname(RelationGetRelid(rel), question->attno, false),
						 value_text(rel, question->attno, value),
						 get_rel_name(question->referenced))
			 : errdetail("Key is not present in table \"%s\".",
						 get_rel_name(question->referenced)),
			 errtableconstraint(rel, trigger->tg_trigger->tgname)));
}

/* ---- the trigger ---- */

static TupleTableSlot *
new_row(const TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot
		: trigger->tg_trigslot;
}

static bool
has(TupleTableSlot *row, AttrNumber attno, Datum value)
{
	Form_pg_attribute attr = TupleDescAttr(row->tts_tupleDescriptor, attno - 1);
	bool		isnull;
	Datum		stored = slot_getattr(row, attno, &isnull);

	return !isnull && datum_image_eq(stored, value, attr->attbyval, attr->attlen);
}

/* Has an UPDATE left the value as it was stored? It was held to it, or excused, before. */
static bool
is_unchanged(const TriggerData *trigger, AttrNumber attno, Datum value)
{
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && has(trigger->tg_trigslot, attno, value);
}

/* Has it left the value as it was read, from a stale row? */
static bool
is_converted(const TriggerData *trigger, AttrNumber attno, Datum value)
{
	Conversion *conversion = migrate_conversion_get(RelationGetRelid(trigger->tg_relation));
	Converter  *converter;
	bool		isnull;
	bool		result;

	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || conversion == NULL)
		return false;
	converter = migrate_converter_acquire(conversion);
	migrate_converter_load(converter, trigger->tg_trigslot);
	migrate_converter_upgrade(converter,
							  DatumGetInt32(slot_getattr(trigger->tg_trigslot,
														 conversion->version_attno, &isnull)),
							  false);
	result = has(converter->slot, attno, value);
	migrate_converter_release(converter);
	return result;
}

/* By the time that a trigger fires, its row may have been changed again, or deleted. */
static bool
is_gone(const TriggerData *trigger)
{
	return !table_tuple_satisfies_snapshot(trigger->tg_relation, new_row(trigger), SnapshotSelf);
}

Datum
migrate_reference_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Question   *question;
	Datum		value;
	bool		isnull;

	check_protocol(fcinfo);
	if (is_gone(trigger))
		return PointerGetDatum(NULL);
	SPI_connect();
	question = find_question(trigger->tg_trigger, trigger->tg_relation);
	if (question != NULL)
	{
		value = slot_getattr(new_row(trigger), question->attno, &isnull);
		if (!isnull && !is_unchanged(trigger, question->attno, value) &&
			!is_there(question, value) && !is_converted(trigger, question->attno, value))
			refuse_row(trigger, question, value);
	}
	SPI_finish();
	return PointerGetDatum(NULL);
}
