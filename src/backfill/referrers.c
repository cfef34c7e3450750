/*
 * backfill/referrers.c
 *		Which rows others refer to that would not let them go.
 *
 * Whether a row may be deleted is for the triggers of the foreign keys to say, when it
 * has been (prune.c). But their no is an error, and costs the batch. So of keys with NO
 * ACTION and RESTRICT it is asked before, by the query that those triggers run, but for
 * the locks: what is meant to stay is then converted with the others. It is no more
 * than a guess: rows may come and go before the deletion, and what hangs on a CASCADE is not
 * looked at.
 *
 * The query runs as the triggers' do, as the owner of the table that refers; restricted.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "backfill/referrers.h"
#include "catalog/store.h"

typedef struct Referrer
{
	Oid			relid;			/* the table that refers */
	Oid			owner;
	int			nkeys;
	AttrNumber	keys[INDEX_MAX_KEYS];	/* attributes of the heap */
	AttrNumber	columns[INDEX_MAX_KEYS];	/* of the table that refers */
	Oid			types[INDEX_MAX_KEYS];	/* of the keys */
	Oid			operators[INDEX_MAX_KEYS];
	SPIPlanPtr	plan;			/* NULL: not made yet */
} Referrer;

/* ---- the keys ---- */

static void
free_plan(void *referrer)
{
	if (((Referrer *) referrer)->plan != NULL)
		SPI_freeplan(((Referrer *) referrer)->plan);
}

static Referrer *
make_referrer(Relation heap, const Trigger *trigger)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(trigger->tgconstraint));
	Referrer   *referrer = palloc0(sizeof(Referrer));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", trigger->tgconstraint);
	DeconstructFkConstraintRow(tuple, &referrer->nkeys, referrer->columns, referrer->keys,
							   referrer->operators, NULL, NULL, NULL, NULL);
	ReleaseSysCache(tuple);
	referrer->relid = trigger->tgconstrrelid;
	referrer->owner = migrate_store_relation_owner(referrer->relid);
	for (int i = 0; i < referrer->nkeys; i++)
		referrer->types[i] = TupleDescAttr(RelationGetDescr(heap), referrer->keys[i] - 1)->atttypid;
	callback->func = free_plan;
	callback->arg = referrer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return referrer;
}

List *
migrate_referrers_find(Relation heap)
{
	/* A copy: what reads the catalog below may have the relation's own loaded anew. */
	const TriggerDesc *triggers = CopyTriggerDesc(heap->trigdesc);
	List	   *referrers = NIL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgisinternal && OidIsValid(trigger->tgconstraint) &&
			(trigger->tgfoid == F_RI_FKEY_NOACTION_DEL ||
			 trigger->tgfoid == F_RI_FKEY_RESTRICT_DEL))
			referrers = lappend(referrers, make_referrer(heap, trigger));
	}
	return referrers;
}

/* ---- asking ---- */

static char *
query_text(const Referrer *referrer)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT 1 FROM %s%s x WHERE ",
					 get_rel_relkind(referrer->relid) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					 migrate_store_relation_sql(referrer->relid));
	for (int i = 0; i < referrer->nkeys; i++)
	{
		char	   *column = get_attname(referrer->relid, referrer->columns[i], false);

		if (i > 0)
			appendStringInfoString(&sql, " AND ");
		generate_operator_clause(&sql, psprintf("$%d", i + 1), referrer->types[i],
								 referrer->operators[i], quote_identifier(column),
								 get_atttype(referrer->relid, referrer->columns[i]));
	}
	return sql.data;
}

static void
make_plan(Referrer *referrer)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(query_text(referrer), referrer->nkeys,
										  referrer->types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not look for rows that refer: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	referrer->plan = plan;
}

static bool
holds(Referrer *referrer, TupleTableSlot *row)
{
	Datum		values[INDEX_MAX_KEYS];
	StoreIdentity self;
	bool		found;

	for (int i = 0; i < referrer->nkeys; i++)
	{
		bool		isnull;

		values[i] = slot_getattr(row, referrer->keys[i], &isnull);
		if (isnull)
			return false;
	}
	migrate_store_become_restricted(&self, referrer->owner);
	SPI_connect();
	if (referrer->plan == NULL)
		make_plan(referrer);
	if (SPI_execute_plan(referrer->plan, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for rows that refer: %s", SPI_result_code_string(SPI_result));
	found = SPI_processed > 0;
	SPI_finish();
	migrate_store_become_self(&self);
	return found;
}

bool
migrate_referrers_hold(List *referrers, TupleTableSlot *row)
{
	ListCell   *lc;

	foreach(lc, referrers)
		if (holds(lfirst(lc), row))
			return true;
	return false;
}
