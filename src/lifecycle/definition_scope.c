/*
 * lifecycle/definition_scope.c
 *		Which columns the texts of a definition may name.
 *
 * The table's own but for the row version; those that migrations before it add and
 * have not added yet; and those of its own "add". One of these that is called as a
 * column of the table has another name until contract gives it that one.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "utils/rel.h"

#include "catalog/names.h"
#include "catalog/store.h"
#include "lifecycle/definition_scope.h"

/* ---- columns that are there, or will be ---- */

static char *
version_column(Oid relid)
{
	char	   *name = migrate_store_fetch("SELECT version_column FROM migrate.managed"
										   " WHERE relation = $1",
										   STORE_ARGS(store_relation(relid)));

	return name ? name : "row_version";
}

static bool
is_managed(Oid relid)
{
	return migrate_store_fetch("SELECT 1 FROM migrate.managed WHERE relation = $1",
							   STORE_ARGS(store_relation(relid))) != NULL;
}

static List *
table_columns(Relation rel, List *besides)
{
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *version = is_managed(RelationGetRelid(rel))
		? version_column(RelationGetRelid(rel)) : NULL;
	List	   *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		ScopeColumn *column;

		if (attr->attisdropped || migrate_names_contain(besides, NameStr(attr->attname)) ||
			(version != NULL && strcmp(NameStr(attr->attname), version) == 0))
			continue;
		column = palloc0(sizeof(ScopeColumn));
		column->name = pstrdup(NameStr(attr->attname));
		column->type = attr->atttypid;
		column->typmod = attr->atttypmod;
		column->collation = attr->attcollation;
		column->generated = attr->attgenerated != '\0';
		columns = lappend(columns, column);
	}
	return columns;
}

/*
 * The columns that migrations before this one add, but have not added yet: name
 * and type of each. They come after the table's own, which count where both have
 * one of a name. (A join would read all migrations anew for each step of the way.)
 */
static const char *const expected_columns =
"WITH RECURSIVE before (name) AS ("
" SELECT unnest($2) UNION SELECT unnest(m.depends_on) FROM before,"
"  LATERAL (SELECT depends_on FROM migrate.migration WHERE name = before.name OFFSET 0) m)"
" SELECT c.name, c.type FROM before JOIN migrate.migration m USING (name)"
"  JOIN migrate.added_column c ON c.migration = m.name"
" WHERE m.relation = $1 AND m.state IN ('defined', 'rolled back')"
" ORDER BY m.seq, c.\"position\"";

static void
add_expected_columns(Scope *scope, Oid relid, List *depends_on)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_rows(expected_columns,
										 STORE_ARGS(store_relation(relid),
													store_text_array(depends_on)), 2))
	{
		char	  **row = lfirst(lc);
		ScopeColumn *column = palloc0(sizeof(ScopeColumn));

		column->name = row[0];
		column->type_text = row[1];
		scope->columns = lappend(scope->columns, column);
	}
}

static List *
column_names(List *columns)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, columns)
		names = lappend(names, ((ScopeColumn *) lfirst(lc))->name);
	return names;
}

static List *
known_names(const Migration *known)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, known->added)
		names = lappend(names, ((AddedColumn *) lfirst(lc))->name);
	return names;
}

/* ---- a new type under the same name ---- */

static const AddedColumn *
find_known(const Migration *known, const char *rename_to)
{
	ListCell   *lc;

	foreach(lc, known->added)
	{
		const AddedColumn *column = lfirst(lc);

		if (column->rename_to != NULL && strcmp(column->rename_to, rename_to) == 0)
			return column;
	}
	return NULL;
}

/* A name for a column until it may have the one that another has. */
static char *
interim_name(const Scope *scope, List *added, const char *name)
{
	for (int n = 0;; n++)
	{
		char	   *interim = makeObjectName(name, NULL, n == 0 ? "new" : psprintf("new%d", n));

		if (migrate_scope_find(scope, interim) == NULL &&
			!migrate_names_contain(column_names(added), interim))
			return interim;
	}
}

/*
 * A column in "add" that the table has already takes that one's place: it goes
 * by another name until contract drops the old one.
 */
static void
find_twins(Scope *scope, List *added, const Migration *known)
{
	ListCell   *lc;

	foreach(lc, added)
	{
		ScopeColumn *column = lfirst(lc);
		const AddedColumn *before = known ? find_known(known, column->name) : NULL;

		if (before == NULL && migrate_scope_find(scope, column->name) == NULL)
			continue;
		column->rename_to = column->name;
		column->name = before ? before->name : interim_name(scope, added, column->name);
	}
}

/* ---- the whole ---- */

static void
check_added(Relation rel, List *added)
{
	char	   *version = version_column(RelationGetRelid(rel));
	ListCell   *lc;

	foreach(lc, added)
	{
		ScopeColumn *column = lfirst(lc);

		if (strcmp(column->name, version) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" is taken by the row version", column->name),
					 errhint("Choose another name, or call migrate.manage() with another version column first.")));
	}
}

void
migrate_definition_fill_scope(Scope *scope, Relation rel, const Definition *definition,
							  List *added, const Migration *known)
{
	scope->relid = definition->relid;
	scope->relation_name = RelationGetRelationName(rel);
	/* Of a known migration the columns may be there, as its own doing. */
	scope->columns = table_columns(rel, known && known->version > 0 ? known_names(known) : NIL);
	add_expected_columns(scope, definition->relid, definition->depends_on);
	find_twins(scope, added, known);
	check_added(rel, added);
	scope->columns = list_concat(scope->columns, added);
}
