/*
 * lifecycle/statistics.c
 *		What the planner knows of a new column while rows are stale.
 *
 * ANALYZE looks at stored values, and of a stale row a new column stores
 * nothing. What a query sees is the reading (convert/conversion.c), and the
 * planner finds statistics on an expression by comparing trees. So there is an
 * extended statistics object on each reading that is made of trusted functions
 * alone, built from the very tree that queries get, not from its text: what a
 * parser makes of the text need not be equal.
 *
 * States: the objects of a relation are brought to what its readings are, by
 * whatever changes these: expand, completion, contract and rollback. One whose
 * expression is a reading still is kept, with what ANALYZE found. When nothing is
 * stale none is wanted, and ANALYZE's statistics on the column itself count.
 *
 * ANALYZE evaluates the expressions, as the table's owner in a security-restricted
 * operation; they are built in and immutable all the same. But it fails where
 * "up" raises an error. So as soon as the backfill has found such a row, none is
 * wanted, nor on a table on which writes may be deferred.
 *
 * They belong to the table's owner, and go with any column that they name. What tells
 * them from others is in guard/own_statistics.c. It harms nothing if somebody drops one.
 *
 * Locks: ShareUpdateExclusiveLock on the relation, which is not waited for:
 * where it is held (by VACUUM, say) the relation keeps the objects that it has
 * until the next change. Statistics are never wrong, only of no use. But a query
 * that is being planned knows the objects by OID and fails where one is gone
 * when it looks. So they are dropped only where AccessExclusiveLock is held, as by
 * expand, contract and rollback. Else they are silenced, by a statistics target
 * of 0: ANALYZE leaves them alone then. The next of these steps drops them.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_statistic_ext.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "guard/own_statistics.h"
#include "lifecycle/statistics.h"
#include "migrate.h"

/* A reading that should have statistics. */
typedef struct Wanted
{
	char	   *column;
	const Expr *reading;
} Wanted;

/* ---- what there should be ---- */

/*
 * Rows that "up" raises an error for have been found, or may be stored at any time:
 * ANALYZE would meet them too.
 */
static bool
has_failures(Oid root)
{
	Conversion *conversion = migrate_conversion_get(root);

	return (conversion != NULL && conversion->defers) || migrate_store_fetch("SELECT 1 FROM migrate.failure f"
							   " JOIN migrate.migration m ON m.name = f.migration"
							   " WHERE m.relation = $1 LIMIT 1",
							   STORE_ARGS(store_relation(root))) != NULL;
}

/* A type that cannot be ordered has no statistics of this kind. */
static bool
can_be_analyzed(const Expr *reading)
{
	Oid			type = exprType((Node *) reading);

	return OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr) &&
		migrate_expression_is_inlinable((Node *) reading);
}

static List *
wanted_statistics(Oid relid)
{
	Conversion *conversion = migrate_conversion_get(relid);
	List	   *wanted = NIL;
	int			first;

	if (conversion == NULL)
		return NIL;
	first = migrate_conversion_first_incomplete(conversion);
	for (int i = 0; i < conversion->tupdesc->natts; i++)
	{
		const Expr *reading = migrate_conversion_reading(conversion, first, i + 1);

		if (reading != NULL && can_be_analyzed(reading))
		{
			Wanted	   *one = palloc(sizeof(Wanted));

			one->column = NameStr(TupleDescAttr(conversion->tupdesc, i)->attname);
			one->reading = reading;
			wanted = lappend(wanted, one);
		}
	}
	return wanted;
}

/* ---- what there is ---- */

static void
drop(Oid oid)
{
	ObjectAddress object;

	ObjectAddressSet(object, StatisticExtRelationId, oid);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
}

static void
execute_as_superuser(const char *sql)
{
	StoreIdentity self;

	migrate_store_become_restricted(&self, BOOTSTRAP_SUPERUSERID);
	SPI_connect();
	SPI_execute(sql, false, 0);
	SPI_finish();
	migrate_store_become_self(&self);
}

static bool
is_silent(Oid oid)
{
	return migrate_store_fetch("SELECT 1 FROM pg_statistic_ext"
							   " WHERE oid = $1 AND stxstattarget = 0",
							   STORE_ARGS(store_oid(oid))) != NULL;
}

static void
silence(Oid oid)
{
	char	   *name = migrate_store_fetch("SELECT stxnamespace::regnamespace || '.'"
										   " || quote_ident(stxname) FROM pg_statistic_ext"
										   " WHERE oid = $1",
										   STORE_ARGS(store_oid(oid)));

	if (name != NULL && !is_silent(oid))
		execute_as_superuser(psprintf("ALTER STATISTICS %s SET STATISTICS 0", name));
}

/* Rid the relation of objects that are not wanted, and take the others off the list. */
static List *
drop_others(Oid relid, List *wanted)
{
	Relation	rel = relation_open(relid, NoLock);
	List	   *there = RelationGetStatExtList(rel);
	bool		nobody_plans = CheckRelationLockedByMe(rel, AccessExclusiveLock, true);
	ListCell   *lc;

	relation_close(rel, NoLock);
	foreach(lc, there)
	{
		const Expr *expression = migrate_own_statistics_reading(lfirst_oid(lc));
		ListCell   *cell;
		bool		keep = false;

		if (expression == NULL)
			continue;
		foreach(cell, wanted)
		{
			const Expr *reading = ((Wanted *) lfirst(cell))->reading;

			if (equal(expression, reading) &&
				!(nobody_plans && is_silent(lfirst_oid(lc))))
			{
				keep = true;
				wanted = foreach_delete_current(wanted, cell);
				break;
			}
		}
		if (keep)
			continue;
		if (nobody_plans)
			drop(lfirst_oid(lc));
		else
			silence(lfirst_oid(lc));
	}
	return wanted;
}

/* ---- making ---- */

static char *
choose_name(Oid relid, const char *column)
{
	char	   *table = psprintf("%s%s", MIGRATE_STATISTICS_PREFIX, get_rel_name(relid));
	char	   *name = makeObjectName(table, column, NULL);

	for (int n = 1; SearchSysCacheExists2(STATEXTNAMENSP, CStringGetDatum(name),
										  ObjectIdGetDatum(get_rel_namespace(relid)));
		 n++)
		name = makeObjectName(table, column, psprintf("%d", n));
	return name;
}

static CreateStatsStmt *
make_statement(Oid relid, const char *name, const Expr *reading)
{
	CreateStatsStmt *statement = makeNode(CreateStatsStmt);
	StatsElem  *element = makeNode(StatsElem);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	element->expr = copyObject((Node *) reading);
	statement->defnames = list_make2(makeString(schema), makeString(pstrdup(name)));
	statement->exprs = list_make1(element);
	statement->relations = list_make1(makeRangeVar(schema, get_rel_name(relid), -1));
	statement->transformed = true;
	return statement;
}

static void
run(CreateStatsStmt *statement)
{
	PlannedStmt *wrapper = makeNode(PlannedStmt);

	wrapper->commandType = CMD_UTILITY;
	wrapper->utilityStmt = (Node *) statement;
	wrapper->stmt_location = -1;
	ProcessUtility(wrapper, "CREATE STATISTICS", false, PROCESS_UTILITY_SUBCOMMAND,
				   NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

/*
 * The table's owner need not have the right to create objects in its schema;
 * to add a column takes none either. So a superuser makes it, and gives it away.
 */
static void
create(Oid relid, const Wanted *wanted)
{
	char	   *name = choose_name(relid, wanted->column);
	char	   *qualified = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
													   name);
	char	   *owner = migrate_store_fetch("SELECT relowner::regrole::text FROM pg_class"
											" WHERE oid = $1",
											STORE_ARGS(store_oid(relid)));
	StoreIdentity self;

	migrate_store_become_restricted(&self, BOOTSTRAP_SUPERUSERID);
	run(make_statement(relid, name, wanted->reading));
	migrate_store_become_self(&self);
	execute_as_superuser(psprintf("ALTER STATISTICS %s OWNER TO %s", qualified, owner));
}

/* ---- the whole ---- */

static void
sync_relation(Oid relid, bool none)
{
	List	   *wanted;
	ListCell   *lc;

	if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return;
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;
	wanted = none ? NIL : wanted_statistics(relid);
	foreach(lc, drop_others(relid, wanted))
		create(relid, lfirst(lc));
}

void
migrate_lifecycle_sync_statistics(Oid root)
{
	bool		none = has_failures(root);
	ListCell   *lc;

	foreach(lc, find_all_inheritors(root, NoLock, NULL))
		sync_relation(lfirst_oid(lc), none);
}
