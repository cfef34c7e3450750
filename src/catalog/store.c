/*
 * catalog/store.c
 *		Reaching the extension's own tables.
 *
 * They are read and written by SPI under the identity of the extension's
 * owner, with a search_path that nobody else can put objects into, so that
 * neither the caller's rights nor its settings matter. No user trigger can
 * stand on them: only their owner could create one.
 *
 * Paths that run inside the planner or a trigger do not come here but scan
 * the catalog directly (convert/conversion_cache.c): SPI would recurse.
 *
 * What is read is what is committed by now, in a REPEATABLE READ transaction too,
 * as the server reads its own catalogs: a step that went by what was live when its
 * transaction began could take the triggers from a migration that came since.
 *
 * Identities are put on as index builds do: an error takes them off with the
 * (sub)transaction, and settings made meanwhile go with the GUC nest level.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/installation.h"
#include "catalog/store.h"
#include "migrate.h"

/* ---- arguments ---- */

StoreArg
store_datum(Oid type, Datum value, bool isnull)
{
	StoreArg	arg = {type, value, isnull};

	return arg;
}

StoreArg
store_text(const char *value)
{
	return store_datum(TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0,
					   value == NULL);
}

StoreArg
store_name(const char *value)
{
	Name		name = palloc0(sizeof(NameData));

	namestrcpy(name, value);
	return store_datum(NAMEOID, NameGetDatum(name), false);
}

StoreArg
store_relation(Oid value)
{
	return store_datum(REGCLASSOID, ObjectIdGetDatum(value), false);
}

StoreArg
store_oid(Oid value)
{
	return store_datum(OIDOID, ObjectIdGetDatum(value), false);
}

StoreArg
store_int(int32 value)
{
	return store_datum(INT4OID, Int32GetDatum(value), false);
}

StoreArg
store_bigint(int64 value)
{
	return store_datum(INT8OID, Int64GetDatum(value), false);
}

StoreArg
store_char(char value)
{
	return store_datum(CHAROID, CharGetDatum(value), false);
}

StoreArg
store_bool(bool value)
{
	return store_datum(BOOLOID, BoolGetDatum(value), false);
}

StoreArg
store_text_array(List *strings)
{
	Datum	   *elements = palloc((list_length(strings) + 1) * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, strings)
		elements[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return store_datum(TEXTARRAYOID,
					   PointerGetDatum(construct_array(elements, list_length(strings), TEXTOID,
													   -1, false, TYPALIGN_INT)), false);
}

StoreArg
store_name_array(List *names)
{
	Datum	   *elements = palloc((list_length(names) + 1) * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, names)
		elements[foreach_current_index(lc)] = store_name(lfirst(lc)).value;
	return store_datum(NAMEARRAYOID,
					   PointerGetDatum(construct_array(elements, list_length(names), NAMEOID,
													   NAMEDATALEN, false, TYPALIGN_CHAR)), false);
}

/* ---- identity ---- */

static void
become(StoreIdentity *saved, Oid role, int sec_context)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	saved->guc_nestlevel = NewGUCNestLevel();
	SetUserIdAndSecContext(role, saved->sec_context | sec_context);
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Become the extension's owner, to write its tables. */
void
migrate_store_become_owner(StoreIdentity *saved)
{
	Installation installation;

	/* Dropped, while a worker or a function of ours was at it. */
	if (!migrate_installation_read(&installation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", MIGRATE_EXTENSION)));
	migrate_installation_check(&installation);
	become(saved, installation.owner, SECURITY_LOCAL_USERID_CHANGE);
	/* The server's texts of expressions are kept, and compared. */
	(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Become a role whose code is about to run: it can neither change what the
 * session is, nor leave anything behind that runs later with other rights.
 */
void
migrate_store_become_restricted(StoreIdentity *saved, Oid role)
{
	become(saved, role, SECURITY_RESTRICTED_OPERATION);
}

void
migrate_store_become_self(const StoreIdentity *saved)
{
	AtEOXact_GUC(false, saved->guc_nestlevel);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

/* ---- where things are ---- */

/* The owner of our extension; InvalidOid where this database does not have it. */
Oid
migrate_store_extension_owner(void)
{
	Installation installation;

	return migrate_installation_read(&installation) ? installation.owner : InvalidOid;
}

/*
 * One of our tables or indexes by name; InvalidOid where there is none, as
 * while the extension's own script still runs.
 */
Oid
migrate_store_table(const char *name)
{
	Oid			namespace = get_namespace_oid(MIGRATE_SCHEMA, true);

	return OidIsValid(namespace) ? get_relname_relid(name, namespace) : InvalidOid;
}

Oid
migrate_store_index(const char *name)
{
	return migrate_store_table(name);
}

/* One of our functions; an error where it is missing, for we installed it. */
Oid
migrate_store_function(const char *name, int nargs, const Oid *argtypes)
{
	List	   *qualified = list_make2(makeString(MIGRATE_SCHEMA),
									   makeString(pstrdup(name)));

	return LookupFuncName(qualified, nargs, argtypes, false);
}

Oid
migrate_store_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* ---- statements ---- */

/*
 * Plans are kept, for the steps of a migration ask the same again and again, the
 * contract while it holds the table: to plan takes much longer than to look. They
 * are generic, which is what our small tables want, and the server makes them anew
 * when it has to. Of texts with names in them there are many: so not all are kept.
 */
#define MAX_KEPT_PLANS	300

typedef struct KeptPlan
{
	uint64		hash;			/* hash key: of the text */
	char	   *sql;			/* NULL: not made yet */
	SPIPlanPtr	plan;
	int			nargs;
	Oid			types[FUNC_MAX_ARGS];
} KeptPlan;

static HTAB *kept_plans = NULL;

static bool
is_plan_of(const KeptPlan *kept, const char *sql, int nargs, const Oid *types)
{
	return kept->sql != NULL && strcmp(kept->sql, sql) == 0 && kept->nargs == nargs &&
		memcmp(kept->types, types, nargs * sizeof(Oid)) == 0;
}

static SPIPlanPtr
make_plan(const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	return plan;
}

static void
keep_plan(KeptPlan *kept, const char *sql, int nargs, const Oid *types, SPIPlanPtr plan)
{
	kept->nargs = nargs;
	memcpy(kept->types, types, nargs * sizeof(Oid));
	SPI_keepplan(plan);
	kept->plan = plan;
	kept->sql = MemoryContextStrdup(TopMemoryContext, sql);
}

static SPIPlanPtr
get_plan(const char *sql, int nargs, Oid *types)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) sql, strlen(sql), 0);
	KeptPlan   *kept;
	SPIPlanPtr	plan;
	bool		found;

	if (kept_plans == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(KeptPlan)};

		kept_plans = hash_create("migrate plans", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(kept_plans, &hash, HASH_FIND, NULL);
	if (kept != NULL && is_plan_of(kept, sql, nargs, types))
		return kept->plan;
	plan = make_plan(sql, nargs, types);
	if (kept != NULL || hash_get_num_entries(kept_plans) >= MAX_KEPT_PLANS)
		return plan;
	kept = hash_search(kept_plans, &hash, HASH_ENTER, &found);
	kept->sql = NULL;
	keep_plan(kept, sql, nargs, types, plan);
	return plan;
}

/*
 * The snapshot for a statement that is to see what is committed by now. READ
 * COMMITTED takes such a one anyway; in parallel mode nothing is changed.
 */
static Snapshot
snapshot_of_now(void)
{
	return IsolationUsesXactSnapshot() && !IsInParallelMode()
		? GetLatestSnapshot() : InvalidSnapshot;
}

/* Run within SPI; the result is in SPI_tuptable. */
uint64
migrate_store_spi(const char *sql, int nargs, const StoreArg *args)
{
	Oid			types[FUNC_MAX_ARGS];
	Datum		values[FUNC_MAX_ARGS];
	char		nulls[FUNC_MAX_ARGS] = {0};
	int			rc;

	Assert(nargs <= FUNC_MAX_ARGS);
	for (int i = 0; i < nargs; i++)
	{
		types[i] = args[i].type;
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
	rc = SPI_execute_snapshot(get_plan(sql, nargs, types), values, nulls, snapshot_of_now(),
							  InvalidSnapshot, false, true, 0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(rc));
	return SPI_processed;
}

/*
 * Run one statement on our tables, and say how many rows it touched. What it
 * wrote is visible to the caller at once.
 */
uint64
migrate_store_execute(const char *sql, int nargs, const StoreArg *args)
{
	StoreIdentity self;
	uint64		rows;

	migrate_store_become_owner(&self);
	SPI_connect();
	rows = migrate_store_spi(sql, nargs, args);
	SPI_finish();
	migrate_store_become_self(&self);
	return rows;
}

/*
 * Run one query on our tables for the first column of its first row, as text
 * in the caller's memory; NULL where there is no row or no value.
 */
char *
migrate_store_fetch(const char *sql, int nargs, const StoreArg *args)
{
	MemoryContext caller = CurrentMemoryContext;
	StoreIdentity self;
	char	   *result = NULL;

	migrate_store_become_owner(&self);
	SPI_connect();
	if (migrate_store_spi(sql, nargs, args) > 0)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1);

		if (value != NULL)
			result = MemoryContextStrdup(caller, value);
	}
	SPI_finish();
	migrate_store_become_self(&self);
	return result;
}

/*
 * Run one query on our tables for the columns of its first row, likewise.
 * False where there is no row.
 */
bool
migrate_store_fetch_row(const char *sql, int nargs, const StoreArg *args,
						int ncolumns, char **columns)
{
	MemoryContext caller = CurrentMemoryContext;
	StoreIdentity self;
	bool		found;

	migrate_store_become_owner(&self);
	SPI_connect();
	found = migrate_store_spi(sql, nargs, args) > 0;
	for (int i = 0; found && i < ncolumns; i++)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, i + 1);

		columns[i] = value ? MemoryContextStrdup(caller, value) : NULL;
	}
	SPI_finish();
	migrate_store_become_self(&self);
	return found;
}

/* Run one query on our tables for the first column of every row (char *), never NULL. */
List *
migrate_store_fetch_list(const char *sql, int nargs, const StoreArg *args)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_rows(sql, nargs, args, 1))
		result = lappend(result, ((char **) lfirst(lc))[0]);
	return result;
}

/* The same for several columns: a list of arrays of char *, NULL where the value is. */
List *
migrate_store_fetch_rows(const char *sql, int nargs, const StoreArg *args, int ncolumns)
{
	MemoryContext caller = CurrentMemoryContext;
	StoreIdentity self;
	List	   *result = NIL;
	uint64		rows;

	migrate_store_become_owner(&self);
	SPI_connect();
	rows = migrate_store_spi(sql, nargs, args);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		char	  **row = palloc(ncolumns * sizeof(char *));

		for (int n = 0; n < ncolumns; n++)
			row[n] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, n + 1);
		result = lappend(result, row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	migrate_store_become_self(&self);
	return result;
}

/*
 * Run a utility statement on a user's table, as the table's owner: what it
 * makes is the owner's, and what it may do is what the owner may. Restricted,
 * since DDL runs the owner's code, too: the server folds the constants of defaults
 * and constraints, of a domain's and of those that the table has anyway, and the
 * parser reads constants by their types' input, which checks domains.
 */
void
migrate_store_ddl(Oid relid, const char *sql)
{
	StoreIdentity self;
	int			rc;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(relid));
	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(rc));
	SPI_finish();
	migrate_store_become_self(&self);
}

char *
migrate_store_relation_sql(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}
