/*
 * convert/row_key.c
 *		Naming a row to a person.
 *
 * A key is shown where a conversion failed, which may be in the session of
 * somebody who has nothing to do with the table. So nothing but types' output
 * functions runs here: row_to_json() would call a cast to json that anybody
 * may have made for a type of their own, hence it is only given values of
 * built-in types, and the output text of all others.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/row_key.h"

/* So many bytes fit into an index entry, with room for what else is in it. */
#define MAX_RECORDED_KEY	2000

/* The attributes of an index if it is a valid primary key, in its order; else none. */
static int
key_of_index(Oid indexid, AttrNumber *attnos)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	Form_pg_index index;
	int			nkeys = 0;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", indexid);
	index = (Form_pg_index) GETSTRUCT(tuple);
	if (index->indisprimary && index->indisvalid)
	{
		nkeys = index->indnkeyatts;
		for (int i = 0; i < nkeys; i++)
			attnos[i] = index->indkey.values[i];
	}
	ReleaseSysCache(tuple);
	return nkeys;
}

static int
primary_key(Relation rel, AttrNumber *attnos)
{
	List	   *indexes = RelationGetIndexList(rel);
	int			nkeys = 0;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		nkeys = key_of_index(lfirst_oid(lc), attnos);
		if (nkeys > 0)
			break;
	}
	list_free(indexes);
	return nkeys;
}

/* What a type is shown as: itself where that is built in, else text. */
static Oid
shown_type(Oid type)
{
	Oid			base = getBaseType(type);

	return base < FirstUnpinnedObjectId ? base : TEXTOID;
}

static Datum
shown_value(Oid type, Datum value)
{
	Oid			output;
	bool		is_varlena;

	if (shown_type(type) != TEXTOID)
		return value;
	getTypeOutputInfo(type, &output, &is_varlena);
	return CStringGetTextDatum(OidOutputFunctionCall(output, value));
}

static char *
key_as_json(Relation rel, TupleTableSlot *row, const AttrNumber *attnos, int nkeys)
{
	TupleDesc	shape = CreateTemplateTupleDesc(nkeys);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	HeapTuple	record;

	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnos[i] - 1);

		TupleDescInitEntry(shape, i + 1, NameStr(attr->attname),
						   shown_type(attr->atttypid), -1, 0);
		values[i] = slot_getattr(row, attnos[i], &nulls[i]);
		if (!nulls[i])
			values[i] = shown_value(attr->atttypid, values[i]);
	}
	record = heap_form_tuple(BlessTupleDesc(shape), values, nulls);
	return TextDatumGetCString(DirectFunctionCall1(row_to_json,
												   HeapTupleGetDatum(record)));
}

static char *
address_as_json(ItemPointer tid)
{
	return psprintf("{\"ctid\": \"(%u,%u)\"}",
					ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid));
}

char *
migrate_row_key_json(Relation rel, TupleTableSlot *row)
{
	AttrNumber	attnos[INDEX_MAX_KEYS];
	int			nkeys = primary_key(rel, attnos);

	if (nkeys > 0)
		return key_as_json(rel, row, attnos, nkeys);
	if (!ItemPointerIsValid(&row->tts_tid))
		return NULL;
	return address_as_json(&row->tts_tid);
}

/* ---- recording ---- */

typedef struct KeyToRecord
{
	Relation	rel;
	TupleTableSlot *row;
	char	   *json;
	MemoryContext context;		/* of json */
} KeyToRecord;

/* Types may bring their own output functions and casts to JSON: the owner's to run. */
static void
make_key(void *arg)
{
	KeyToRecord *key = arg;
	StoreIdentity self;

	PushActiveSnapshot(GetTransactionSnapshot());
	migrate_store_become_restricted(&self, key->rel->rd_rel->relowner);
	key->json = MemoryContextStrdup(key->context, migrate_row_key_json(key->rel, key->row));
	migrate_store_become_self(&self);
	PopActiveSnapshot();
}

char *
migrate_row_key_to_record(Relation rel, TupleTableSlot *row)
{
	KeyToRecord key = {rel, row, NULL, CurrentMemoryContext};
	ErrorData  *error = migrate_try(make_key, &key);

	if (error != NULL && migrate_try_is_about_server(error))
		ReThrowError(error);
	if (error != NULL || strlen(key.json) > MAX_RECORDED_KEY)
		return address_as_json(&row->tts_tid);
	return key.json;
}
