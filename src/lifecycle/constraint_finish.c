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
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "catalog/failure.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/expression.h"
#include "guc.h"
#include "lifecycle/breach.h"
#include "lifecycle/constraint.h"
#include "lifecycle/deferral.h"
#include "lifecycle/index.h"
#include "lifecycle/lock.h"
#include "lifecycle/reference.h"

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

static bool
breaks_condition(Oid root, const Added *added)
{
	Breach		breach = {
		.migration = added->migration,
		.condition = psprintf("NOT (%s)", added->condition),
		.searcher = owner_of(root),
		.sqlerrcode = added->not_null ? ERRCODE_NOT_NULL_VIOLATION : ERRCODE_CHECK_VIOLATION,
		.message = added->not_null
		? psprintf("null value in column \"%s\" violates not-null constraint", added->column)
		: psprintf("row violates check constraint \"%s\"", added->name),
	};

	return migrate_breach_record(root, &breach);
}

static bool
breaks_reference(Oid root, const AddedReference *reference)
{
	Breach		breach = {
		.migration = reference->migration,
		.condition = migrate_reference_broken_condition(root, reference),
		.searcher = BOOTSTRAP_SUPERUSERID,
		.sqlerrcode = ERRCODE_FOREIGN_KEY_VIOLATION,
		.message = psprintf("row violates foreign key constraint \"%s\"", reference->name),
	};

	return migrate_breach_record(root, &breach);
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

/*
 * All at once: clients of the old form are to see either none of them in force, or
 * all. All locks are got together, before the end of deferring would take that on
 * the table: who holds a referenced one is not to be waited for with it.
 */
static ConstraintStep
make_plain(Oid root, List *constraints, List *references)
{
	List	   *locks = migrate_lock_add(NIL, root, AccessExclusiveLock);

	if (any_broken(root, constraints, references))
		return CONSTRAINTS_BROKEN;
	migrate_lock_tables(migrate_reference_lock_referenced(references, locks),
						"put constraints of new columns into force");
	switch (migrate_deferral_end(root))
	{
		case DEFERRAL_OVER:
			break;
		case DEFERRAL_HELD_UP:
			return CONSTRAINTS_BROKEN;
		case DEFERRAL_BLOCKED:
			return CONSTRAINTS_BLOCKED;
	}
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

/* The column's NOT NULL, where servers keep it as a constraint: from 18 on. */
static char *
not_null_of(Oid root, const Added *added)
{
	return migrate_store_fetch("SELECT c.conname FROM pg_constraint c"
							   " JOIN pg_attribute a ON a.attrelid = c.conrelid"
							   "  AND a.attnum = ALL (c.conkey)"
							   " WHERE c.conrelid = $1 AND c.contype = 'n' AND a.attname = $2",
							   STORE_ARGS(store_relation(root), store_name(added->column)));
}

/* It takes over the condition's name; one that somebody gave to the column has its own. */
static void
put_not_null(Oid root, const Added *added)
{
	char	   *given = not_null_of(root, added);
	char	   *made;

	migrate_store_ddl(root, psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
									 relation_sql(root), quote_identifier(added->column)));
	migrate_store_ddl(root, psprintf("ALTER TABLE %s DROP CONSTRAINT %s",
									 relation_sql(root), quote_identifier(added->name)));
	made = not_null_of(root, added);
	if (given == NULL && made != NULL && strcmp(made, added->name) != 0)
		migrate_store_ddl(root, psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s",
										 relation_sql(root), quote_identifier(made),
										 quote_identifier(added->name)));
}

static ConstraintStep
set_not_null(Oid root, List *constraints)
{
	ListCell   *lc;

	migrate_lock_table(root, "put constraints of new columns into force");
	foreach(lc, constraints)
	{
		put_not_null(root, lfirst(lc));
		set_phase(lfirst(lc), "valid");
	}
	return CONSTRAINTS_WORKED;
}

static ConstraintStep
take_step(Oid root)
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

List *
migrate_constraint_locks(Oid root)
{
	List	   *locks = migrate_lock_add(NIL, root, AccessExclusiveLock);
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT DISTINCT a.referenced::oid"
										 " FROM migrate.added_reference a"
										 " JOIN migrate.migration m ON m.name = a.migration"
										 " WHERE m.relation = $1 AND m.state = 'expanded'"
										 " AND a.phase <> 'valid'",
										 STORE_ARGS(store_relation(root))))
		locks = migrate_lock_add(locks, atooid(lfirst(lc)), ShareRowExclusiveLock);
	return locks;
}

typedef struct Step
{
	Oid			root;
	ConstraintStep result;
} Step;

static void
try_step(void *context)
{
	Step	   *step = context;

	step->result = take_step(step->root);
}

/*
 * Others may be in the way who wait for this very transaction, as the builder of a
 * partition's index does: they get on when we end it and come again.
 */
ConstraintStep
migrate_constraint_step(Oid root)
{
	Step		step = {root, CONSTRAINTS_STAND};
	ErrorData  *error = migrate_try(try_step, &step);

	if (error == NULL)
		return step.result;
	if (!migrate_try_is_about_others(error))
		ReThrowError(error);
	FreeErrorData(error);
	return CONSTRAINTS_BLOCKED;
}
