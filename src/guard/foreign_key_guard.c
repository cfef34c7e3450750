/*
 * guard/foreign_key_guard.c
 *		Foreign keys, and columns that do not read as they are stored.
 *
 * What the server asks for a foreign key it asks in queries, which see columns as they
 * read; but the values that it asks with it takes from the row at hand, as it is stored.
 *
 * - A row of the table that refers is checked after our trigger has converted it, so
 *   both sides are what is read.
 * - A row of the table that is referred to is checked when it goes or its key changes,
 *   and what it was is taken as stored. Where a stale row's key reads otherwise, nobody
 *   would be found who refers to that, and would be left referring to nothing; or those
 *   be deleted by CASCADE who refer to what was stored. So a column that others refer to
 *   is not rewritten in place, and while one is nobody comes to refer to it. A unique
 *   index on a column that is new cannot be had while rows are stale (index_guard.c).
 *
 * A rollback lets stale rows read as they are stored again, and what they refer to by
 * that may have gone, unhindered. So a column that refers, by a foreign key on which
 * people rely since it is valid, is rewritten to the end before.
 *
 * Locks: who makes a foreign key holds one on both tables that conflicts with expand's
 * and rollback's. So whoever comes second sees the other. Completion, which may come at
 * any time, only lets more pass.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/foreign_key_guard.h"

/* ---- what there is ---- */

#define OF_TABLE(column) \
	"(" column " = $1 OR " column " IN (SELECT relid FROM pg_partition_tree($1)))"

/* One that a partition has from its parent is named there. */
#define NAME_ONE(side) \
	"SELECT format('\"%s\" of table \"%s\"', k.conname, c.relname)" \
	" FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid" \
	" JOIN pg_attribute a ON a.attrelid = k.con" side "relid AND a.attnum = ANY (k.con" side "key)" \
	" WHERE k.contype = 'f' AND " OF_TABLE("k.con" side "relid") " AND a.attname = $2"

/* That refer to a column; a REFERENCES of a migration is as good as made. */
static char *
find_referring(Oid root, const char *column)
{
	char	   *found = migrate_store_fetch(NAME_ONE("f") " ORDER BY k.conparentid <> 0, k.oid LIMIT 1",
											STORE_ARGS(store_relation(root), store_name(column)));

	if (found != NULL)
		return found;
	return migrate_store_fetch("SELECT format('\"%s\" of table \"%s\"', r.name, c.relname)"
							   " FROM migrate.added_reference r"
							   " JOIN migrate.migration m ON m.name = r.migration"
							   " JOIN pg_class c ON c.oid = m.relation"
							   " WHERE " OF_TABLE("r.referenced") " AND r.referenced_column = $2 LIMIT 1",
							   STORE_ARGS(store_relation(root), store_name(column)));
}

/* That a column refers by, and which are valid. */
static char *
find_valid(Oid root, const char *column)
{
	return migrate_store_fetch(NAME_ONE("") " AND k.convalidated"
							   " ORDER BY k.conparentid <> 0, k.oid LIMIT 1",
							   STORE_ARGS(store_relation(root), store_name(column)));
}

/* ---- to refer to a column ---- */

/* The newest live migration that may not have converted a column yet; NULL if all have. */
static const LiveMigration *
find_rewriting(Conversion *conversion, AttrNumber attno)
{
	int			first = migrate_conversion_first_incomplete(conversion);

	for (int i = conversion->nlive - 1; i >= first; i--)
	{
		ListCell   *lc;

		foreach(lc, conversion->live[i].ups)
			if (((Assignment *) lfirst(lc))->target == attno)
				return &conversion->live[i];
	}
	return NULL;
}

void
migrate_foreign_key_guard_check_key(Oid relid, AttrNumber attno)
{
	Conversion *conversion = migrate_conversion_get(relid);
	const LiveMigration *live = conversion ? find_rewriting(conversion, attno) : NULL;

	if (live != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot refer to column \"%s\" of table \"%s\" while rows of migration \"%s\" are stale",
						get_attname(relid, attno, false), get_rel_name(relid), live->name),
				 errdetail("Who refers to a row that is deleted is found by what is stored in it, and a stale row reads otherwise."),
				 errhint("Add the foreign key once the migration is complete.")));
}

void
migrate_foreign_key_guard_check_create(Oid constraint)
{
	HeapTuple	tuple = migrate_catalog_row(ConstraintRelationId, ConstraintOidIndexId,
											Anum_pg_constraint_oid, constraint, SnapshotSelf);
	AttrNumber	columns[INDEX_MAX_KEYS];
	AttrNumber	keys[INDEX_MAX_KEYS];
	Oid			operators[INDEX_MAX_KEYS];
	int			nkeys;

	if (!HeapTupleIsValid(tuple) ||
		((Form_pg_constraint) GETSTRUCT(tuple))->contype != CONSTRAINT_FOREIGN)
		return;
	DeconstructFkConstraintRow(tuple, &nkeys, columns, keys, operators, NULL, NULL, NULL, NULL);
	for (int i = 0; i < nkeys; i++)
		migrate_foreign_key_guard_check_key(((Form_pg_constraint) GETSTRUCT(tuple))->confrelid,
											keys[i]);
}

/* ---- to rewrite a column ---- */

void
migrate_foreign_key_guard_check_rewrite(Oid root, const char *column)
{
	char	   *found = find_referring(root, column);

	if (found != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of relation \"%s\" cannot be rewritten in place",
						column, get_rel_name(root)),
				 errdetail("Foreign key %s refers to it, and would go by what is stored in rows that are not converted yet.",
						   found),
				 errhint("Compute a column of \"add\" from it, and have others refer to that one.")));
}

/* The columns that a migration rewrites in place, and those generated from them. */
static List *
rewritten_columns(const Conversion *conversion, const LiveMigration *live)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, live->ups)
	{
		AttrNumber	target = ((Assignment *) lfirst(lc))->target;
		Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, target - 1);

		if (!bms_is_member(target, live->added))
			names = lappend(names, NameStr(attr->attname));
	}
	return names;
}

void
migrate_foreign_key_guard_check_expanded(Oid root)
{
	const Conversion *conversion = migrate_conversion_get(root);
	ListCell   *lc;

	foreach(lc, rewritten_columns(conversion, &conversion->live[conversion->nlive - 1]))
		migrate_foreign_key_guard_check_rewrite(root, lfirst(lc));
}

/* ---- to leave it half rewritten ---- */

static void
check_half_rewritten(const Conversion *conversion, const LiveMigration *live)
{
	ListCell   *lc;

	foreach(lc, rewritten_columns(conversion, live))
	{
		char	   *found = find_valid(conversion->root, lfirst(lc));

		if (found != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("migration \"%s\" cannot be rolled back", live->name),
					 errdetail("Foreign key %s was held to what column \"%s\" reads as, and rows that are not converted would read as they are stored again.",
							   found, (char *) lfirst(lc)),
					 errhint("CALL migrate.run(%s) converts them. Or drop the foreign key, and add it again afterwards.",
							 quote_literal_cstr(migrate_store_relation_sql(conversion->root)))));
	}
}

void
migrate_foreign_key_guard_check_rollback(Oid root, const char *migration)
{
	const Conversion *conversion = migrate_conversion_get(root);

	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
		if (!conversion->live[i].complete && strcmp(conversion->live[i].name, migration) == 0)
			check_half_rewritten(conversion, &conversion->live[i]);
}
