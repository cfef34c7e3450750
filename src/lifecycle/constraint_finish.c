/*
 * lifecycle/constraint_finish.c
 *		From constraints that excuse the old form to plain ones.
 *
 * When all rows are converted, and before the migration is complete, they go
 * through these phases, in a transaction for each step:
 *
 *	excused		rows that break it are looked for. Where there are any they are
 *				recorded, and nothing changes: clients of the old form go on
 *				without an error. Else the plain condition takes its place, NOT
 *				VALID, in one catalog change; from here it holds for all who write
 *	plain		the server validates it, under a lock that blocks neither reads
 *				nor writes
 *	proven		NOT NULL only: the column is set to it, which the validated
 *				condition lets the server do without reading; the condition goes
 *	valid
 *
 * UNIQUE is a declared index (lifecycle/index.c), of which a constraint is made
 * in the end. REFERENCES goes along with the others (lifecycle/reference_finish.c).
 *
 * A constraint that somebody dropped is forgotten. A crash leaves a phase as it was.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/store.h"
#include "convert/expression.h"
#include "convert/row_key.h"
#include "guc.h"
#include "lifecycle/constraint.h"
#include "lifecycle/index.h"
#include "lifecycle/lock.h"
#include "lifecycle/reference.h"

/* So many rows that break a constraint are named. */
#define MAX_BROKEN_ROWS "100"

typedef struct Added
{
	char	   *migration;
	char	   *name;
	char	   *column;
	bool		not_null;
	char	   *condition;		/* as the definition had it */
} Added;

/* ---- what is there ---- */

static void
set_phase(const Added *added, const char *phase)
{
	migrate_store_execute("UPDATE migrate.added_constraint SET phase = $3"
						  " WHERE migration = $1 AND name = $2",
						  STORE_ARGS(store_text(added->migration), store_name(added->name),
									 store_text(phase)));
}

static void
forget(const Added *added)
{
	migrate_store_execute("DELETE FROM migrate.added_constraint WHERE migration = $1 AND name = $2",
						  STORE_ARGS(store_text(added->migration), store_name(added->name)));
}

static bool
is_excuse(Node *node)
{
	Oid			argtypes[] = {TEXTOID};

	return IsA(node, FuncExpr) &&
		((FuncExpr *) node)->funcid == migrate_store_function("excused", 1, argtypes);
}

/*
 * A condition without the excuse. After a restore it is one of more than two
 * that the parser made of "a OR b OR excused"; and a plain one may be an OR too.
 */
static Node *
without_excuse(Node *condition)
{
	List	   *args;

	if (!is_orclause(condition) || !is_excuse(llast(((BoolExpr *) condition)->args)))
		return condition;
	args = list_truncate(list_copy(((BoolExpr *) condition)->args),
						 list_length(((BoolExpr *) condition)->args) - 1);
	return list_length(args) == 1 ? linitial(args) : (Node *) make_orclause(args);
}

/* The condition as the definition had it; NULL where the constraint is gone. */
static char *
condition_of(Oid root, const char *name)
{
	Oid			oid = get_relation_constraint_oid(root, name, true);
	HeapTuple	tuple;
	Node	   *tree;
	bool		isnull;

	if (!OidIsValid(oid))
		return NULL;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid));
	tree = stringToNode(TextDatumGetCString(SysCacheGetAttr(CONSTROID, tuple,
															Anum_pg_constraint_conbin, &isnull)));
	ReleaseSysCache(tuple);
	return migrate_expression_to_text(root, (Expr *) without_excuse(tree));
}

/* Those in a phase that is not the last: the nth, or NULL. */
static Added *
load_constraint(Oid root, const char *phase, int n)
{
	char	   *columns[4];
	Added	   *added;

	if (!migrate_store_fetch_row("SELECT a.migration, a.name, a.column_name, a.not_null"
								 " FROM migrate.added_constraint a"
								 " JOIN migrate.migration m ON m.name = a.migration"
								 " WHERE m.relation = $1 AND m.state = 'expanded' AND a.phase = $2"
								 " ORDER BY m.version, a.name OFFSET $3 LIMIT 1",
								 STORE_ARGS(store_relation(root), store_text(phase),
											store_bigint(n)),
								 lengthof(columns), columns))
		return NULL;
	added = palloc(sizeof(Added));
	added->migration = columns[0];
	added->name = columns[1];
	added->column = columns[2];
	added->not_null = strcmp(columns[3], "t") == 0;
	added->condition = condition_of(root, added->name);
	return added;
}

/* All in a phase; those that somebody has dropped are forgotten. */
static List *
load_constraints(Oid root, const char *phase)
{
	List	   *result = NIL;
	List	   *gone = NIL;
	Added	   *added;
	ListCell   *lc;

	for (int n = 0; (added = load_constraint(root, phase, n)) != NULL; n++)
	{
		if (added->condition != NULL)
			result = lappend(result, added);
		else
			gone = lappend(gone, added);
	}
	foreach(lc, gone)
		forget(lfirst(lc));
	return result;
}

static char *
relation_sql(Oid root)
{
	return migrate_store_relation_sql(root);
}

static Oid
owner_of(Oid relid)
{
	return atooid(migrate_store_fetch("SELECT relowner FROM pg_class WHERE oid = $1",
									  STORE_ARGS(store_oid(relid))));
}

/* ---- rows that break it ---- */

/* How rows break a constraint. */
typedef struct Breach
{
	const char *migration;
	const char *condition;		/* what is true of rows "r" that do */
	Oid			searcher;		/* as whom to look for them */
	const char *sqlstate;
	const char *message;
} Breach;

static char *
key_of(Oid heap_oid, ItemPointer tid)
{
	Relation	heap = table_open(heap_oid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	char	   *key = NULL;

	if (table_tuple_fetch_row_version(heap, tid, GetActiveSnapshot(), slot))
		key = migrate_row_key_json(heap, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(heap, NoLock);
	return key;
}

static void
record_broken(Oid heap, const Breach *breach, const char *key)
{
	migrate_store_execute("INSERT INTO migrate.failure AS f"
						  " (relation, migration, row_key, sqlstate, message)"
						  " VALUES ($1, $2, $3::jsonb, $4, $5)"
						  " ON CONFLICT (relation, migration, row_key) DO UPDATE"
						  " SET sqlstate = $4, message = $5, attempts = f.attempts + 1,"
						  "  last_seen = clock_timestamp()",
						  STORE_ARGS(store_relation(heap), store_text(breach->migration),
									 store_text(key), store_text(breach->sqlstate),
									 store_text(breach->message)));
	migrate_store_execute("UPDATE migrate.backfill SET last_error = $2 WHERE relation = $1",
						  STORE_ARGS(store_relation(heap), store_text(breach->message)));
}

typedef struct BrokenRow
{
	Oid			heap;
	char	   *key;
} BrokenRow;

/*
 * As a role, restricted: the table's owner, for conditions and keys may run code
 * of the owner's; or a superuser, where the owner need not be able to read
 * another table, and nothing is run that is not built in.
 */
static List *
find_broken(Oid root, const Breach *breach)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *sql = psprintf("SELECT r.tableoid, r.ctid FROM %s r WHERE %s LIMIT " MAX_BROKEN_ROWS,
							   relation_sql(root), breach->condition);
	List	   *broken = NIL;
	StoreIdentity self;

	migrate_store_become_restricted(&self, breach->searcher);
	(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	SPI_execute(sql, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Oid			heap = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		ItemPointer tid = (ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, 2, &isnull));
		char	   *key = key_of(heap, tid);
		MemoryContext spi = MemoryContextSwitchTo(caller);
		BrokenRow  *row = palloc(sizeof(BrokenRow));

		row->heap = heap;
		row->key = key ? pstrdup(key) : NULL;
		broken = lappend(broken, row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	migrate_store_become_self(&self);
	return broken;
}

static bool
record_all_broken(Oid root, const Breach *breach)
{
	List	   *broken = find_broken(root, breach);
	ListCell   *lc;

	foreach(lc, broken)
	{
		BrokenRow  *row = lfirst(lc);

		if (row->key != NULL)
			record_broken(row->heap, breach, row->key);
	}
	return broken != NIL;
}

static bool
breaks_condition(Oid root, const Added *added)
{
	Breach		breach = {
		.migration = added->migration,
		.condition = psprintf("NOT (%s)", added->condition),
		.searcher = owner_of(root),
		.sqlstate = added->not_null ? "23502" : "23514",
		.message = added->not_null
		? psprintf("null value in column \"%s\" violates not-null constraint", added->column)
		: psprintf("row violates check constraint \"%s\"", added->name),
	};

	return record_all_broken(root, &breach);
}

static bool
breaks_reference(Oid root, const AddedReference *reference)
{
	Breach		breach = {
		.migration = reference->migration,
		.condition = migrate_reference_broken_condition(root, reference),
		.searcher = BOOTSTRAP_SUPERUSERID,
		.sqlstate = "23503",
		.message = psprintf("row violates foreign key constraint \"%s\"", reference->name),
	};

	return record_all_broken(root, &breach);
}

/* ---- steps ---- */

static bool
any_broken(Oid root, List *constraints, List *references)
{
	bool		broken = false;
	ListCell   *lc;

	foreach(lc, constraints)
		broken |= breaks_condition(root, lfirst(lc));
	foreach(lc, references)
		broken |= breaks_reference(root, lfirst(lc));
	return broken;
}

static void
replace_conditions(Oid root, List *constraints)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, constraints)
	{
		Added	   *added = lfirst(lc);
		char	   *name = pstrdup(quote_identifier(added->name));

		appendStringInfo(&sql, "%s DROP CONSTRAINT %s, ADD CONSTRAINT %s CHECK (%s) NOT VALID",
						 sql.len > 0 ? "," : "", name, name, added->condition);
		set_phase(added, "plain");
	}
	if (constraints != NIL)
		migrate_store_ddl(root, psprintf("ALTER TABLE %s%s", relation_sql(root), sql.data));
}

/* All at once: clients of the old form are to see either none of them in force, or all. */
static ConstraintStep
make_plain(Oid root, List *constraints, List *references)
{
	List	   *locks = migrate_lock_add(NIL, root, AccessExclusiveLock);

	if (any_broken(root, constraints, references))
		return CONSTRAINTS_BROKEN;
	migrate_lock_tables(migrate_reference_lock_referenced(references, locks),
						"put constraints of new columns into force");
	replace_conditions(root, constraints);
	migrate_reference_make_plain(root, references);
	return CONSTRAINTS_WORKED;
}

/* False where a row breaks it. */
static bool
try_validate(Oid root, const Added *added)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool valid = true;
	StoreIdentity self;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		migrate_store_become_restricted(&self, owner_of(root));
		migrate_store_ddl(root, psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s",
										 relation_sql(root), quote_identifier(added->name)));
		migrate_store_become_self(&self);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_CHECK_VIOLATION)
			ReThrowError(error);
		FreeErrorData(error);
		valid = false;
	}
	PG_END_TRY();
	return valid;
}

static ConstraintStep
validate(Oid root, const Added *added)
{
	if (!ConditionalLockRelationOid(root, ShareUpdateExclusiveLock))
		return CONSTRAINTS_BLOCKED;
	if (try_validate(root, added))
	{
		set_phase(added, added->not_null ? "proven" : "valid");
		return CONSTRAINTS_WORKED;
	}
	/* What broke it may have gone just now. */
	return breaks_condition(root, added) ? CONSTRAINTS_BROKEN : CONSTRAINTS_BLOCKED;
}

static ConstraintStep
validate_reference(Oid root)
{
	AddedReference *broken = NULL;
	ConstraintStep step = migrate_reference_step(root, &broken);

	if (step == CONSTRAINTS_BROKEN && !breaks_reference(root, broken))
		return CONSTRAINTS_BLOCKED;
	return step;
}

static ConstraintStep
set_not_null(Oid root, List *constraints)
{
	ListCell   *lc;

	migrate_lock_table(root, "put constraints of new columns into force");
	foreach(lc, constraints)
	{
		Added	   *added = lfirst(lc);

		migrate_store_ddl(root, psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
										 relation_sql(root), quote_identifier(added->column)));
		migrate_store_ddl(root, psprintf("ALTER TABLE %s DROP CONSTRAINT %s",
										 relation_sql(root), quote_identifier(added->name)));
		set_phase(added, "valid");
	}
	return CONSTRAINTS_WORKED;
}

ConstraintStep
migrate_constraint_step(Oid root)
{
	List	   *constraints = load_constraints(root, "excused");
	List	   *references = migrate_reference_load_checked(root);
	ConstraintStep step;

	if (constraints != NIL || references != NIL)
		return make_plain(root, constraints, references);
	if ((constraints = load_constraints(root, "plain")) != NIL)
		return validate(root, linitial(constraints));
	if ((step = validate_reference(root)) != CONSTRAINTS_STAND)
		return step;
	if ((constraints = load_constraints(root, "proven")) != NIL)
		return set_not_null(root, constraints);
	if (migrate_index_make_constraints(root))
		return CONSTRAINTS_WORKED;
	return CONSTRAINTS_STAND;
}
