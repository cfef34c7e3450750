/*
 * guard/table_copy.c
 *		Tables that are made in the likeness of managed ones.
 *
 * CREATE TABLE ... (LIKE users INCLUDING ALL) copies the row version, and with it
 * our constraints, but not the trigger that satisfies them: nobody could insert
 * into the copy who does not know of the row version. Such a copy is used to
 * collect rows, for INSERT INTO users SELECT * FROM the copy, or to attach it as
 * a partition. So what we made is taken off it but for the columns, and its rows by default say
 * nothing of their version: whichever form they were given, the trigger finds
 * that out when they are inserted. (What ATTACH makes of them: partition_attach.c.)
 *
 * What we change is part of the command's transaction, and done to a table that
 * nobody else sees yet.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/table_copy.h"
#include "migrate.h"

typedef struct TableCopy
{
	RangeVar   *table;			/* to be created */
	char	   *version_column;
	List	   *constraints;	/* of char *: ours that are copied */
} TableCopy;

/* ---- before the command ---- */

static TableCopy *
expect_copy(const RangeVar *table, const TableLikeClause *like)
{
	Oid			source = RangeVarGetRelid(like->relation, AccessShareLock, true);
	Conversion *conversion = OidIsValid(source) ? migrate_conversion_get(source) : NULL;
	TableCopy  *copy;

	if (conversion == NULL)
		return NULL;
	copy = palloc0(sizeof(TableCopy));
	copy->table = copyObject(unconstify(RangeVar *, table));
	copy->version_column = migrate_migration_version_column(conversion->root);
	if (like->options & CREATE_TABLE_LIKE_CONSTRAINTS)
		copy->constraints = migrate_migration_constraints(conversion->root);
	return copy;
}

List *
migrate_table_copies_expect(Node *statement)
{
	const CreateStmt *create = (const CreateStmt *) statement;
	List	   *copies = NIL;
	ListCell   *lc;

	if (!IsA(statement, CreateStmt) || !migrate_conversion_any())
		return NIL;
	foreach(lc, create->tableElts)
	{
		TableCopy  *copy = IsA(lfirst(lc), TableLikeClause)
			? expect_copy(create->relation, lfirst(lc)) : NULL;

		if (copy != NULL)
			copies = lappend(copies, copy);
	}
	if (copies != NIL && OidIsValid(migrate_table_created(create->relation)))
		return NIL;				/* IF NOT EXISTS, or an error */
	return copies;
}

/* ---- after the command ---- */

Oid
migrate_table_created(const RangeVar *name)
{
	Oid			namespace = RangeVarGetCreationNamespace(name);

	return get_relname_relid(name->relname, namespace);
}

/* What we have made on the row version in the source: it would be in a contract's way. */
static void
drop_copied_objects(Oid relid, const TableCopy *copy)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT CASE WHEN s.oid IS NULL"
										 "  THEN format('DROP INDEX %s', d.objid::regclass)"
										 "  ELSE format('DROP STATISTICS %I.%I',"
										 "   s.stxnamespace::regnamespace, s.stxname) END"
										 " FROM pg_attribute a JOIN pg_depend d"
										 "  ON d.refclassid = 'pg_class'::regclass"
										 "  AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum"
										 " LEFT JOIN pg_statistic_ext s"
										 "  ON d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid"
										 " LEFT JOIN pg_index i"
										 "  ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid"
										 " WHERE a.attrelid = $1 AND a.attname = $2"
										 " AND coalesce(s.oid, i.indexrelid) IS NOT NULL",
										 STORE_ARGS(store_relation(relid),
													store_name(copy->version_column))))
		migrate_store_ddl(relid, lfirst(lc));
}

static void
make_usable(Oid relid, const TableCopy *copy)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %d",
					 migrate_store_relation_sql(relid), quote_identifier(copy->version_column),
					 MIGRATE_VERSION_UNSAID);
	foreach(lc, copy->constraints)
		if (OidIsValid(get_relation_constraint_oid(relid, lfirst(lc), true)))
			appendStringInfo(&sql, ", DROP CONSTRAINT %s", quote_identifier(lfirst(lc)));
	migrate_store_ddl(relid, sql.data);
	drop_copied_objects(relid, copy);
}

void
migrate_table_copies_follow(List *copies)
{
	ListCell   *lc;

	if (copies == NIL)
		return;
	CommandCounterIncrement();
	foreach(lc, copies)
	{
		const TableCopy *copy = lfirst(lc);

		make_usable(migrate_table_created(copy->table), copy);
	}
}
