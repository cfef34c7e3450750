/*
 * backfill/referrers.c
 *		Which rows others refer to that would not let them go.
 *
 * Foreign keys with NO ACTION and RESTRICT refuse to let a row go that is referred to. The
 * server's triggers ask that row by row, which costs more than all the rest of the
 * removal. Here it is asked of many rows at once, with the operators that the triggers use,
 * twice (prune.c):
 *
 * - before they are removed, as a guess: rows may come and go until then. A no of
 *   a trigger is an error, and costs the batch; what is meant to stay is converted with
 *   the others.
 * - after they were removed, in the triggers' place, and then it is no guess. Whoever refers
 *   to a row locks it FOR KEY SHARE, which conflicts with its removal. So he has
 *   ended before it was removed, and a snapshot taken later sees what he committed; or he
 *   comes after it, waits for our commit, and is told that there is no such row. What
 *   our own transaction has done (rows that others' triggers stored, rows that went by
 *   CASCADE) is seen, too. The rows of the other table need not be locked: one that
 *   somebody is deleting counts as there.
 *
 * That is how a DELETE of all those rows would be checked at its end.
 *
 * Left to the triggers are keys that cannot be handed over many at once (arrays), those with
 * PERIOD, and those whose equality depends on which column's collation is taken.
 *
 * The query runs as the triggers' do, as the owner of the table that refers, with no
 * policy of his own in the way; restricted.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "backfill/referrers.h"
#include "catalog/store.h"
#include "compat.h"

typedef struct Referrer
{
	Oid			trigger;		/* in whose place we ask */
	Oid			relid;			/* the table that refers */
	Oid			owner;
	int			nkeys;
	AttrNumber	keys[INDEX_MAX_KEYS];	/* attributes of the heap */
	AttrNumber	columns[INDEX_MAX_KEYS];	/* of the table that refers */
	Oid			types[INDEX_MAX_KEYS];	/* of the keys; no domains */
	Oid			arrays[INDEX_MAX_KEYS]; /* of those */
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

static void
read_constraint(Referrer *referrer, HeapTuple constraint)
{
	DeconstructFkConstraintRow(constraint, &referrer->nkeys, referrer->columns, referrer->keys,
							   referrer->operators, NULL, NULL, NULL, NULL);
}

/* Where collations differ it is that of the key that counts, if it can make a difference. */
static bool
has_one_equality(Oid relid, AttrNumber column, Form_pg_attribute key)
{
	Oid			type;
	Oid			collation;
	int32		typmod;

	get_atttypetypmodcoll(relid, column, &type, &typmod, &collation);
	return key->attcollation == collation || !OidIsValid(key->attcollation) ||
		get_collation_isdeterministic(key->attcollation);
}

/* False where the keys cannot be handed over many at once. */
static bool
describe_keys(Referrer *referrer, TupleDesc desc)
{
	for (int i = 0; i < referrer->nkeys; i++)
	{
		Form_pg_attribute key = TupleDescAttr(desc, referrer->keys[i] - 1);

		referrer->types[i] = getBaseType(key->atttypid);
		referrer->arrays[i] = get_array_type(referrer->types[i]);
		if (!OidIsValid(referrer->arrays[i]) ||
			!has_one_equality(referrer->relid, referrer->columns[i], key))
			return false;
	}
	return true;
}

/* NULL: it is left to the trigger. */
static Referrer *
make_referrer(Relation heap, const Trigger *trigger)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(trigger->tgconstraint));
	Referrer   *referrer = palloc0(sizeof(Referrer));
	bool		has_period;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", trigger->tgconstraint);
	read_constraint(referrer, tuple);
	has_period = compat_constraint_has_period(tuple);
	ReleaseSysCache(tuple);
	referrer->trigger = trigger->tgoid;
	referrer->relid = trigger->tgconstrrelid;
	if (has_period || !describe_keys(referrer, RelationGetDescr(heap)))
		return NULL;
	referrer->owner = migrate_store_relation_owner(referrer->relid);
	return referrer;
}

static void
free_plan_with_context(Referrer *referrer)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = free_plan;
	callback->arg = referrer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
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
		Referrer   *referrer;

		if (!trigger->tgisinternal || !OidIsValid(trigger->tgconstraint) ||
			(trigger->tgfoid != F_RI_FKEY_NOACTION_DEL &&
			 trigger->tgfoid != F_RI_FKEY_RESTRICT_DEL))
			continue;
		referrer = make_referrer(heap, trigger);
		if (referrer == NULL)
			continue;
		free_plan_with_context(referrer);
		referrers = lappend(referrers, referrer);
	}
	return referrers;
}

bool
migrate_referrers_stand_for(List *referrers, const Trigger *trigger)
{
	ListCell   *lc;

	foreach(lc, referrers)
		if (((Referrer *) lfirst(lc))->trigger == trigger->tgoid)
			return true;
	return false;
}

/* ---- asking ---- */

static void
append_condition(StringInfo sql, const Referrer *referrer)
{
	for (int i = 0; i < referrer->nkeys; i++)
	{
		const char *column = quote_identifier(get_attname(referrer->relid, referrer->columns[i],
														  false));

		appendStringInfoString(sql, i > 0 ? " AND " : "");
		generate_operator_clause(sql, psprintf("k.k%d", i + 1), referrer->types[i],
								 referrer->operators[i], psprintf("x.%s", column),
								 get_atttype(referrer->relid, referrer->columns[i]));
	}
}

static char *
query_text(const Referrer *referrer)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT k.n FROM ROWS FROM (");
	for (int i = 0; i < referrer->nkeys; i++)
		appendStringInfo(&sql, "%sunnest($%d)", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&sql, ") WITH ORDINALITY AS k(");
	for (int i = 0; i < referrer->nkeys; i++)
		appendStringInfo(&sql, "k%d, ", i + 1);
	appendStringInfo(&sql, "n) WHERE EXISTS (SELECT FROM %s%s x WHERE ",
					 get_rel_relkind(referrer->relid) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					 migrate_store_relation_sql(referrer->relid));
	append_condition(&sql, referrer);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* Planned each time: how to look depends on how many there are. */
static void
make_plan(Referrer *referrer)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(query_text(referrer), referrer->nkeys,
										  referrer->arrays, CURSOR_OPT_CUSTOM_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not look for rows that refer: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	referrer->plan = plan;
}

static bool
has_key(const Referrer *referrer, HeapTuple row, TupleDesc desc)
{
	for (int i = 0; i < referrer->nkeys; i++)
		if (heap_attisnull(row, referrer->keys[i], desc))
			return false;
	return true;
}

static Datum
keys_of(const Referrer *referrer, int key, HeapTuple *rows, int nrows, TupleDesc desc)
{
	Datum	   *values = palloc(nrows * sizeof(Datum));
	int16		length;
	bool		is_by_value;
	char		align;

	for (int i = 0; i < nrows; i++)
	{
		bool		isnull;

		values[i] = heap_getattr(rows[i], referrer->keys[key], desc, &isnull);
	}
	get_typlenbyvalalign(referrer->types[key], &length, &is_by_value, &align);
	return PointerGetDatum(construct_array(values, nrows, referrer->types[key],
										   length, is_by_value, align));
}

/* As the triggers look at their table. */
static void
become_owner(const Referrer *referrer, StoreIdentity *self)
{
	Oid			owner;
	int			sec_context;

	migrate_store_become_restricted(self, referrer->owner);
	GetUserIdAndSecContext(&owner, &sec_context);
	SetUserIdAndSecContext(owner, sec_context | SECURITY_NOFORCE_RLS);
}

static void
run_query(Referrer *referrer, Datum *keys)
{
	if (referrer->plan == NULL)
		make_plan(referrer);
	if (SPI_execute_plan(referrer->plan, keys, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for rows that refer: %s", SPI_result_code_string(SPI_result));
}

/* "places" are those of the rows in "held". */
static void
ask(Referrer *referrer, TupleDesc desc, HeapTuple *rows, const int *places, int nrows, bool *held)
{
	Datum		keys[INDEX_MAX_KEYS];
	StoreIdentity self;

	become_owner(referrer, &self);
	SPI_connect();
	for (int i = 0; i < referrer->nkeys; i++)
		keys[i] = keys_of(referrer, i, rows, nrows, desc);
	run_query(referrer, keys);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		n = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		held[places[DatumGetInt64(n) - 1]] = true;
	}
	SPI_finish();
	migrate_store_become_self(&self);
}

/* A row without a key, or of which it is known already, is not asked for. */
static void
ask_one(Referrer *referrer, TupleDesc desc, HeapTuple *rows, int nrows, bool *held)
{
	HeapTuple  *asked = palloc(nrows * sizeof(HeapTuple));
	int		   *places = palloc(nrows * sizeof(int));
	int			n = 0;

	for (int i = 0; i < nrows; i++)
	{
		if (held[i] || !has_key(referrer, rows[i], desc))
			continue;
		asked[n] = rows[i];
		places[n++] = i;
	}
	if (n > 0)
		ask(referrer, desc, asked, places, n, held);
	pfree(places);
	pfree(asked);
}

bool *
migrate_referrers_hold(List *referrers, TupleDesc desc, HeapTuple *rows, int nrows)
{
	bool	   *held = palloc0(nrows * sizeof(bool));
	ListCell   *lc;

	foreach(lc, referrers)
		ask_one(lfirst(lc), desc, rows, nrows, held);
	return held;
}
