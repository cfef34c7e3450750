/*
 * guard/partition_attach.c
 *		Making a table ready to become a partition of a managed one.
 *
 * The server takes a table only if it has all columns and CHECK constraints of
 * its parent. A job that fills tables and attaches them need not know that there
 * is a migration: what the table lacks of what we gave the parent is added, which
 * changes the catalog only.
 *
 * - The row version, with the oldest version that can be upgraded: the rows were
 *   stored by somebody who knows of no newer one.
 * - The columns of live migrations. What they read as is computed, and the
 *   backfill comes for the rows.
 * - Our constraints, validated where the parent's are. So no stale row comes to a
 *   table whose migration is complete, and that is refused.
 *
 * A table that has a row version keeps it: it was a partition before, or is a
 * copy. In a copy (table_copy.c) rows do not say which form they have. They are
 * taken for the old one, unless there is something in a new column, which would
 * be lost: that is refused. So are rows of versions that the parent does not take
 * (write/supported.c): below its floor they would be taken for what a contract has made
 * sure of, and above its newest version for what a migration to come has converted.
 *
 * Locks: those of ATTACH, in its order, the table's made stronger a moment
 * sooner; taken only if both tables are the caller's, as ATTACH demands.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/migration.h"
#include "catalog/own_statement.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "compat.h"
#include "guard/partition_attach.h"
#include "migrate.h"

/* A table that is to come to a managed one. */
typedef struct Newcomer
{
	Oid			relid;
	Oid			parent;
	Oid			root;			/* the parent, or above it */
	char	   *version_column;
	int32		version;
	int32		floor;
	List	   *live;			/* of Migration * */
} Newcomer;

/* ---- which table, and which managed one ---- */

static bool
load_managed(Oid relid, Newcomer *newcomer)
{
	char	   *columns[3];

	if (!migrate_store_fetch_row("SELECT version_column, version, floor FROM migrate.managed"
								 " WHERE relation = $1", STORE_ARGS(store_relation(relid)),
								 lengthof(columns), columns))
		return false;
	newcomer->root = relid;
	newcomer->version_column = columns[0];
	newcomer->version = pg_strtoint32(columns[1]);
	newcomer->floor = pg_strtoint32(columns[2]);
	return true;
}

/* The managed table that a partitioned one is or is a partition of. */
static bool
load_root(Newcomer *newcomer)
{
	Oid			relid = newcomer->parent;

	while (!load_managed(relid, newcomer))
	{
		if (!get_rel_relispartition(relid))
			return false;
		relid = get_partition_parent(relid, true);
	}
	newcomer->live = migrate_migration_load_live(newcomer->root);
	return true;
}

static void
refuse(const Newcomer *newcomer, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot attach table \"%s\" to table \"%s\"",
					get_rel_name(newcomer->relid), get_rel_name(newcomer->root)),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

#define INSERT_THEM "Insert its rows into the partitioned table instead."

/* The versions of its rows would be taken for the other table's. */
static void
check_not_managed(const Newcomer *newcomer)
{
	if (migrate_store_fetch("SELECT 1 FROM migrate.managed WHERE relation = $1",
							STORE_ARGS(store_relation(newcomer->relid))) != NULL)
		refuse(newcomer, "It is or was migrated on its own: its row versions have another meaning.",
			   INSERT_THEM);
}

/* ---- what rows that do not say their version hold ---- */

/* The default of a column of the root as SQL; NULL if there is none that can be compared with. */
static char *
plain_default(Oid root, const char *column)
{
	Relation	rel = table_open(root, AccessShareLock);
	Node	   *expr = build_column_default(rel, get_attnum(root, column));
	bool		is_plain = expr != NULL && !contain_mutable_functions(expr);

	table_close(rel, AccessShareLock);
	if (!is_plain)
		return NULL;
	return migrate_store_fetch("SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d"
							   " JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
							   " WHERE a.attrelid = $1 AND a.attname = $2",
							   STORE_ARGS(store_relation(root), store_name(column)));
}

static void
append_is_set(StringInfo condition, Oid root, const char *column)
{
	char	   *name = pstrdup(quote_identifier(column));
	char	   *default_value = plain_default(root, column);

	/* As text: not every type can be compared. */
	appendStringInfo(condition, "%s%s IS NOT NULL", condition->len > 0 ? " OR " : "", name);
	if (default_value != NULL)
		appendStringInfo(condition, " AND %s::text IS DISTINCT FROM (%s)::text",
						 name, default_value);
}

/*
 * The version of a row for which a condition holds; NULL if there is none. Asked as the
 * table's owner, whose code may run.
 */
static char *
version_of_row(const Newcomer *newcomer, const char *condition)
{
	StoreIdentity self;
	MemoryContext context = CurrentMemoryContext;
	char	   *sql = psprintf("SELECT %s FROM %s WHERE %s LIMIT 1",
							   quote_identifier(newcomer->version_column),
							   migrate_store_relation_sql(newcomer->relid), condition);
	char	   *version = NULL;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(newcomer->relid));
	SPI_connect();
	migrate_own_query(sql, 1);
	if (SPI_processed > 0)
		version = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0],
															SPI_tuptable->tupdesc, 1));
	SPI_finish();
	migrate_store_become_self(&self);
	return version;
}

static void
check_unsaid_rows(const Newcomer *newcomer)
{
	StringInfoData is_set;
	ListCell   *lc;
	ListCell   *each;

	initStringInfo(&is_set);
	foreach(lc, newcomer->live)
		foreach(each, ((Migration *) lfirst(lc))->added)
			append_is_set(&is_set, newcomer->root, ((AddedColumn *) lfirst(each))->name);
	if (is_set.len > 0 &&
		version_of_row(newcomer,
					   psprintf("%s <= %d AND (%s)", quote_identifier(newcomer->version_column),
								MIGRATE_VERSION_UNSAID, is_set.data)) != NULL)
		refuse(newcomer, "It has rows that do not say their version, and have values in new columns.",
			   INSERT_THEM);
}

/* Without a live migration there is no old form that rows which do not say could have. */
static void
check_versions(const Newcomer *newcomer)
{
	const char *column = quote_identifier(newcomer->version_column);
	int32		lowest;
	char	   *version;

	if (get_atttype(newcomer->relid,
					get_attnum(newcomer->relid, newcomer->version_column)) != INT4OID)
		return;					/* lacks it; or is of no use, as ATTACH will say */
	lowest = newcomer->live == NIL ? PG_INT32_MIN : MIGRATE_VERSION_UNSAID;
	version = version_of_row(newcomer,
							 psprintf("%s > %d OR %s < %d AND %s > %d",
									  column, newcomer->version, column, newcomer->floor,
									  column, lowest));
	if (version != NULL)
		refuse(newcomer, psprintf("It has rows of version %s; versions %d to %d are supported.",
								  version, newcomer->floor, newcomer->version),
			   psprintf("Insert them into the partitioned table in their present form, without column \"%s\".",
						newcomer->version_column));
}

/* ---- what it lacks ---- */

static void
add_column(const Newcomer *newcomer, const char *name, const char *definition)
{
	if (get_attnum(newcomer->relid, name) != InvalidAttrNumber)
		return;
	migrate_store_ddl(newcomer->relid,
					  psprintf("ALTER TABLE %s ADD COLUMN %s %s",
							   migrate_store_relation_sql(newcomer->relid),
							   quote_identifier(name), definition));
}

/* Without a live migration there is no form but the newest. */
static void
add_version_column(const Newcomer *newcomer)
{
	add_column(newcomer, newcomer->version_column,
			   psprintf("integer NOT NULL DEFAULT %d",
						newcomer->live == NIL ? newcomer->version : newcomer->floor));
}

static void
add_new_columns(const Newcomer *newcomer)
{
	ListCell   *lc;
	ListCell   *each;

	foreach(lc, newcomer->live)
	{
		foreach(each, ((Migration *) lfirst(lc))->added)
		{
			const AddedColumn *column = lfirst(each);

			add_column(newcomer, column->name, column->type);
		}
	}
}

/* What is to be done to the newcomer, and may find rows in the way. */
typedef struct Requirement
{
	const Newcomer *newcomer;
	const char *action;			/* of ALTER TABLE */
} Requirement;

static void
alter(void *context)
{
	const Requirement *requirement = context;
	Oid			relid = requirement->newcomer->relid;

	migrate_store_ddl(relid, psprintf("ALTER TABLE %s %s", migrate_store_relation_sql(relid),
									  requirement->action));
}

static void
require(const Newcomer *newcomer, const char *action)
{
	Requirement requirement = {newcomer, action};
	ErrorData  *error = migrate_try(alter, &requirement);

	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_CHECK_VIOLATION &&
		error->sqlerrcode != ERRCODE_NOT_NULL_VIOLATION)
		ReThrowError(error);
	refuse(newcomer, psprintf("It has rows that are not in the new form, as those of its parent have to be: %s.",
							  error->message), INSERT_THEM);
}

static void
set_not_null(const Newcomer *newcomer)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT format('ALTER COLUMN %I SET NOT NULL', p.attname)"
										 " FROM pg_attribute p JOIN pg_attribute c USING (attname)"
										 " JOIN migrate.added_column a ON a.name = attname"
										 " JOIN migrate.migration m ON m.name = a.migration"
										 " WHERE m.relation = $1 AND m.state IN ('expanded', 'complete')"
										 " AND p.attrelid = $2 AND p.attnotnull"
										 " AND c.attrelid = $3 AND NOT c.attnotnull",
										 STORE_ARGS(store_relation(newcomer->root),
													store_relation(newcomer->parent),
													store_relation(newcomer->relid))))
		require(newcomer, lfirst(lc));
}

List *
migrate_partition_checks(Oid relid)
{
	return migrate_store_fetch_list("SELECT format('DROP CONSTRAINT %I', c.conname)"
									" FROM pg_constraint c JOIN pg_depend d"
									"  ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid"
									" WHERE c.conrelid = $1 AND c.contype = 'c'"
									" AND d.refclassid = 'pg_proc'::regclass"
									" AND d.refobjid IN ('migrate.excused(text)'::regprocedure,"
									"  'migrate.is_supported(oid, integer, text)'::regprocedure)",
									STORE_ARGS(store_relation(relid)));
}

/*
 * One that was detached past the guard may have constraints that excuse the old form, of
 * which the parent has made plain ones, or one that holds it to the versions of then; and a
 * proof that is not valid, or, from while writes were deferred, of another condition. The
 * server would not take it with those.
 */
#define OUTDATED_PROOFS \
	"SELECT format('DROP CONSTRAINT %I', c.conname)" \
	" FROM pg_constraint c JOIN pg_constraint p USING (conname)" \
	" CROSS JOIN LATERAL (SELECT pg_get_expr(c.conbin, c.conrelid) AS child," \
	"  pg_get_expr(p.conbin, p.conrelid) AS parent) text" \
	" WHERE c.conrelid = $1 AND p.conrelid = $2 AND conname = ANY ($3)" \
	" AND c.contype = 'c' AND p.contype = 'c'" \
	" AND (child <> parent OR p.convalidated AND NOT c.convalidated)"

static void
drop_outdated(const Newcomer *newcomer)
{
	List	   *ours = migrate_migration_constraints(newcomer->root);
	ListCell   *lc;

	foreach(lc, migrate_partition_checks(newcomer->relid))
		require(newcomer, lfirst(lc));
	foreach(lc, migrate_store_fetch_list(OUTDATED_PROOFS,
										 STORE_ARGS(store_relation(newcomer->relid),
													store_relation(newcomer->parent),
													store_name_array(ours))))
		require(newcomer, lfirst(lc));
}

static void
add_constraints(const Newcomer *newcomer)
{
	ListCell   *lc;

	foreach(lc, migrate_migration_constraints(newcomer->root))
	{
		char	   *action;

		if (OidIsValid(get_relation_constraint_oid(newcomer->relid, lfirst(lc), true)))
			continue;
		action = migrate_store_fetch("SELECT format('ADD CONSTRAINT %I %s', conname,"
									 " pg_get_constraintdef(oid))"
									 " FROM pg_constraint WHERE conrelid = $1 AND conname = $2",
									 STORE_ARGS(store_relation(newcomer->parent),
												store_name(lfirst(lc))));
		if (action != NULL)
			require(newcomer, action);
	}
}

/* ATTACH demands both; if one is not the caller's, it will say so. */
static bool
are_callers(const Newcomer *newcomer)
{
	return compat_is_relation_owner(newcomer->parent, GetUserId()) &&
		compat_is_relation_owner(newcomer->relid, GetUserId());
}

Oid
migrate_partition_prepare(const RangeVar *parent, const RangeVar *name)
{
	Newcomer	newcomer = {0};

	if (!OidIsValid(migrate_store_extension_owner()))
		return InvalidOid;
	newcomer.parent = RangeVarGetRelid(parent, NoLock, true);
	newcomer.relid = RangeVarGetRelid(name, NoLock, true);
	if (!OidIsValid(newcomer.parent) || !OidIsValid(newcomer.relid) ||
		get_rel_relispartition(newcomer.relid) || !are_callers(&newcomer) || !load_root(&newcomer))
		return InvalidOid;		/* to no managed table; or the command will say what is wrong */
	if (get_rel_relkind(newcomer.relid) == RELKIND_FOREIGN_TABLE)
		refuse(&newcomer, "It is a foreign table.", INSERT_THEM);

	if (RangeVarGetRelid(parent, ShareUpdateExclusiveLock, true) != newcomer.parent ||
		RangeVarGetRelid(name, AccessExclusiveLock, true) != newcomer.relid)
		return InvalidOid;		/* renamed or dropped meanwhile: the command will see */
	(void) load_root(&newcomer);	/* what is live may have changed meanwhile */
	check_not_managed(&newcomer);
	check_versions(&newcomer);
	add_version_column(&newcomer);
	add_new_columns(&newcomer);
	check_unsaid_rows(&newcomer);
	set_not_null(&newcomer);
	drop_outdated(&newcomer);
	add_constraints(&newcomer);
	return newcomer.relid;
}

/* ---- what it must not be ---- */

static void
refuse_kind(const Conversion *conversion, Oid relid, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("table \"%s\" cannot be a partition of \"%s\" while migration \"%s\" is live",
					get_rel_name(relid), get_rel_name(conversion->root),
					conversion->live[conversion->nlive - 1].name),
			 errdetail_internal("%s", detail)));
}

/* Is a column in its key that a write in another form changes, or one that goes? */
static bool
has_moving_key(Relation rel, const Conversion *conversion)
{
	Bitmapset  *moving = NULL;
	int			offset = -FirstLowInvalidHeapAttributeNumber;
	int			attno = -1;
	ListCell   *lc;

	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];

		foreach(lc, list_concat_copy(live->ups, live->downs))
			moving = bms_add_member(moving, ((Assignment *) lfirst(lc))->target + offset);
		while ((attno = bms_next_member(live->removed, attno)) >= 0)
			moving = bms_add_member(moving, attno + offset);
	}
	return has_partition_attrs(rel, moving, NULL);
}

static void
check_one(const Conversion *newcomer, Oid relid)
{
	Conversion *conversion = migrate_conversion_get(relid);
	Relation	rel = table_open(relid, NoLock);

	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		refuse_kind(newcomer, relid, "It is a foreign table.");
	if (rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		refuse_kind(newcomer, relid, "It does not use the heap access method.");
	if (has_moving_key(rel, conversion))
		refuse_kind(newcomer, relid,
					"Its partition key has columns that the migration computes or removes.");
	table_close(rel, NoLock);
}

void
migrate_partition_check(const Conversion *conversion)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(conversion->relid, AccessShareLock, NULL))
		check_one(conversion, lfirst_oid(lc));
}
