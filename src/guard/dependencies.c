/*
 * guard/dependencies.c
 *		What the expressions of live migrations use, as the server knows it.
 *
 * The functions, operators, types, collations and tables are dependencies of the
 * table's write trigger, so that the server keeps them, or names what stands in the
 * way. The row's own columns are not among them: these are for the guard to keep
 * (guard/drop_guard.c), and a dependency would be in the contract's way.
 *
 * Neither pg_dump nor pg_upgrade carries dependencies that no command makes. So
 * migrate.recorded says in which cluster those of a table were recorded; it is not
 * dumped, and after pg_upgrade names another. Where it does not say so, they are
 * recorded before the first statement that could drop something. A table of which
 * this fails does not hold the statement up: what its expressions use has gone
 * already.
 *
 * Who records locks migrate.recorded to the end of the transaction, and looks
 * again: two at once would be in each other's way in pg_depend. Once it is
 * committed nobody locks any more.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"

#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "guard/dependencies.h"
#include "migrate.h"

/* ---- recording ---- */

static Node *
strip_column(Var *column, void *context)
{
	return (Node *) makeNullConst(column->vartype, column->vartypmod, column->varcollid);
}

static void
record_assignments(const ObjectAddress *trigger, List *assignments)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		Assignment *assignment = lfirst(lc);
		Expr	   *expr;

		if (assignment->generated)
			continue;			/* the column itself depends on it */

		/* The row's columns are the guard's to keep: a dependency would be in contract's way. */
		expr = migrate_expression_replace_columns(assignment->expr, strip_column, NULL);
		recordDependencyOnExpr(trigger, (Node *) expr, NIL, DEPENDENCY_NORMAL);
	}
}

static void
forget_dependencies(Oid trigger)
{
	static const Oid classes[] = {ProcedureRelationId, OperatorRelationId,
	TypeRelationId, CollationRelationId, RelationRelationId};

	for (int i = 0; i < lengthof(classes); i++)
		deleteDependencyRecordsForClass(TriggerRelationId, trigger, classes[i],
										DEPENDENCY_NORMAL);
}

/* As what a cluster is known to itself: pg_upgrade makes another one. */
static StoreArg
this_cluster(void)
{
	return store_bigint((int64) GetSystemIdentifier());
}

static void
note_recorded(Oid relid)
{
	migrate_store_execute("INSERT INTO migrate.recorded VALUES ($1, $2)"
						  " ON CONFLICT (relation) DO UPDATE SET cluster = $2",
						  STORE_ARGS(store_relation(relid), this_cluster()));
}

void
migrate_dependencies_record(Oid relid)
{
	Conversion *conversion = migrate_conversion_get(relid);
	ObjectAddress trigger;
	ObjectAddress function;

	if (conversion == NULL)
		return;
	ObjectAddressSet(trigger, TriggerRelationId,
					 get_trigger_oid(relid, MIGRATE_TRIGGER_NAME, false));
	ObjectAddressSet(function, ProcedureRelationId,
					 migrate_store_function("write_trigger", 0, NULL));
	forget_dependencies(trigger.objectId);
	recordDependencyOn(&trigger, &function, DEPENDENCY_NORMAL);
	for (int i = 0; i < conversion->nlive; i++)
	{
		record_assignments(&trigger, conversion->live[i].ups);
		record_assignments(&trigger, conversion->live[i].downs);
	}
	note_recorded(relid);
	CommandCounterIncrement();
}

/* ---- what was restored ---- */

/* While a dump is restored there may be no trigger yet. */
#define NOT_RECORDED \
	"SELECT DISTINCT m.relation::oid FROM migrate.migration m" \
	" JOIN pg_trigger t ON t.tgrelid = m.relation AND t.tgname = '" MIGRATE_TRIGGER_NAME "'" \
	" WHERE m.state IN ('expanded', 'complete') AND NOT EXISTS (" \
	"  SELECT FROM migrate.recorded r WHERE r.relation = m.relation AND r.cluster = $1)"

static List *
not_recorded(void)
{
	return migrate_store_fetch_list(NOT_RECORDED, STORE_ARGS(this_cluster()));
}

static void
record(void *arg)
{
	migrate_dependencies_record(*(Oid *) arg);
}

static bool
may_drop(Node *statement)
{
	return IsA(statement, DropStmt) || IsA(statement, DropOwnedStmt) ||
		IsA(statement, AlterTableStmt);
}

void
migrate_dependencies_expect(Node *statement)
{
	ListCell   *lc;

	if (!may_drop(statement) || !migrate_conversion_any() || not_recorded() == NIL)
		return;
	LockRelationOid(migrate_store_table("recorded"), ShareUpdateExclusiveLock);
	foreach(lc, not_recorded())
	{
		Oid			relid = atooid(lfirst(lc));
		ErrorData  *error = migrate_try(record, &relid);

		if (error != NULL && !migrate_try_is_about_data(error))
			ReThrowError(error);
	}
}
