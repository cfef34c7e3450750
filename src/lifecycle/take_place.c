/*
 * lifecycle/take_place.c
 *		A new column takes the place of the one whose name it will have.
 *
 * To its users a column of a new type under the same name is the old one, as after
 * ALTER COLUMN TYPE. So it takes over what they have given to the name and not to
 * the type:
 *
 * - privileges on the column, as they are by then, beside its own: who could read
 *   it can read it. With them go their grantors, so that they can be revoked;
 * - the comment, the statistics target and the options (n_distinct), each
 *   where it has none of its own;
 * - being an identity column, where it can be: NOT NULL, of an integer type, and
 *   without a default of its own. The sequence is made anew under its name,
 *   and goes on from where the old one was;
 * - names: an index or constraint of "add" was called "items_price_key1" for as long as
 *   the old column's was "items_price_key".
 *
 * Storage and compression are the type's. Defaults, NOT NULL, constraints and indexes
 * are what "add" and create_index say. A serial column's sequence, which would go
 * with that column, is given to the new one whose default uses it, be its name the
 * same or not.
 *
 * All of it are changes of the catalog in contract's transaction, under its lock.
 * Partitions have their own of each. Who calls nextval() on an identity's sequence
 * by its name waits for the commit, and then finds the new one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/store.h"
#include "lifecycle/take_place.h"

struct Heritage
{
	List	   *identities;		/* of char *: statements, in order */
	List	   *numbered;		/* of char *: names of indexes and constraints with a number */
};

static void
run_all(Oid relid, List *statements)
{
	ListCell   *lc;

	foreach(lc, statements)
		migrate_store_ddl(relid, lfirst(lc));
}

/* ---- privileges ---- */

static Acl *
column_acl(HeapTuple tuple)
{
	bool		isnull;
	Datum		acl = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attacl, &isnull);

	return isnull ? NULL : DatumGetAclPCopy(acl);
}

static void
set_acl(Relation attributes, HeapTuple tuple, Acl *before, Acl *acl, Oid owner)
{
	Form_pg_attribute attr = (Form_pg_attribute) GETSTRUCT(tuple);
	Datum		values[Natts_pg_attribute] = {0};
	bool		nulls[Natts_pg_attribute] = {0};
	bool		replaces[Natts_pg_attribute] = {0};
	Oid		   *old_members = NULL;
	Oid		   *new_members;
	int			nold = before ? aclmembers(before, &old_members) : 0;
	int			nnew = aclmembers(acl, &new_members);

	values[Anum_pg_attribute_attacl - 1] = PointerGetDatum(acl);
	replaces[Anum_pg_attribute_attacl - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(attributes), values, nulls, replaces);
	CatalogTupleUpdate(attributes, &tuple->t_self, tuple);
	updateAclDependencies(RelationRelationId, attr->attrelid, attr->attnum, owner,
						  nold, old_members, nnew, new_members);
}

static void
take_privileges(Oid relid, const char *old, const char *new)
{
	Relation	attributes = table_open(AttributeRelationId, RowExclusiveLock);
	Oid			owner = migrate_store_relation_owner(relid);
	HeapTuple	from = SearchSysCacheCopyAttName(relid, old);
	HeapTuple	to = SearchSysCacheCopyAttName(relid, new);
	Acl		   *theirs = HeapTupleIsValid(from) ? column_acl(from) : NULL;
	Acl		   *own = HeapTupleIsValid(to) ? column_acl(to) : NULL;

	if (theirs != NULL && HeapTupleIsValid(to))
		set_acl(attributes, to, own, own ? aclmerge(own, theirs, owner) : theirs, owner);
	table_close(attributes, RowExclusiveLock);
	CommandCounterIncrement();
}

/* ---- what is said by statements ---- */

/* Of column $2 of relation $1, for its column $3, which has none of it. */
#define COLUMNS \
	" FROM pg_attribute o, pg_attribute n" \
	" WHERE o.attrelid = $1 AND o.attname = $2 AND n.attrelid = $1 AND n.attname = $3"

/* Those that a user can give; servers keep others of their own there. */
#define OPTIONS_TAKEN \
	"SELECT format('%I = %L', theirs.option_name, theirs.option_value)" \
	" FROM pg_options_to_table(o.attoptions) theirs" \
	" WHERE theirs.option_name IN ('n_distinct', 'n_distinct_inherited')" \
	" AND theirs.option_name NOT IN" \
	"  (SELECT own.option_name FROM pg_options_to_table(n.attoptions) own)"

static const char *const taking =
	"SELECT format('COMMENT ON COLUMN %s.%I IS %L', $1::regclass, $3, col_description($1, o.attnum))" COLUMNS " AND col_description($1, o.attnum) IS NOT NULL AND col_description($1, n.attnum) IS NULL"
" UNION ALL SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I SET (%s)', $1::regclass, $3, option.text)"
	" FROM pg_attribute o, pg_attribute n, LATERAL (" OPTIONS_TAKEN ") option (text)"
	" WHERE o.attrelid = $1 AND o.attname = $2 AND n.attrelid = $1 AND n.attname = $3"
" UNION ALL SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS %s', $1::regclass, $3,"
	"  o.attstattarget)" COLUMNS " AND o.attstattarget >= 0 AND coalesce(n.attstattarget, -1) < 0";

static void
take_settings(Oid relid, const char *old, const char *new)
{
	run_all(relid, migrate_store_fetch_list(taking,
											STORE_ARGS(store_relation(relid), store_name(old),
													   store_name(new))));
}

/* ---- sequences ---- */

/* Column "n" of relation $1 has a default that uses the sequence which "d" says to be another's. */
#define USED_BY_DEFAULT \
	" EXISTS (SELECT FROM pg_attrdef f JOIN pg_depend u ON u.classid = 'pg_attrdef'::regclass" \
	"  AND u.objid = f.oid AND u.refclassid = 'pg_class'::regclass AND u.refobjid = d.objid" \
	"  WHERE f.adrelid = $1 AND f.adnum = n.attnum)"

#define OWNED_SEQUENCES \
	" pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass" \
	" AND d.refobjid = $1 AND d.refobjsubid = o.attnum"

static void
keep_sequences(Oid relid, List *dropped)
{
	run_all(relid,
			migrate_store_fetch_list("SELECT DISTINCT ON (d.objid)"
									 "  format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass,"
									 "   $1::regclass, n.attname)"
									 " FROM pg_attribute o, pg_attribute n," OWNED_SEQUENCES
									 " AND d.deptype = 'a' AND o.attrelid = $1 AND o.attname = ANY ($2)"
									 " AND n.attrelid = $1 AND n.attname <> ALL ($2) AND " USED_BY_DEFAULT
									 " ORDER BY d.objid, n.attnum",
									 STORE_ARGS(store_relation(relid), store_name_array(dropped))));
}

/*
 * The sequence of column $2 of relation $1 for its column $3: which it is, whether a
 * default is in the way, and statements that make it anew when the column has its
 * name. Bounds that are a type's own are left to the new one.
 */
static const char *const identities =
"SELECT d.objid, n.atthasdef,"
" format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s"
" START WITH %s INCREMENT BY %s%s%s CACHE %s%s)',"
"  $1::regclass, $2, CASE o.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,"
"  d.objid::regclass, q.seqstart, q.seqincrement,"
"  CASE WHEN q.seqmin IN (1, -32768, -2147483648, -9223372036854775808) THEN ''"
"   ELSE format(' MINVALUE %s', q.seqmin) END,"
"  CASE WHEN q.seqmax IN (-1, 32767, 2147483647, 9223372036854775807) THEN ''"
"   ELSE format(' MAXVALUE %s', q.seqmax) END,"
"  q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END),"
" format('SELECT pg_catalog.setval(%L, ', d.objid::regclass)"
" FROM pg_attribute o, pg_attribute n, pg_sequence q," OWNED_SEQUENCES
" AND d.deptype = 'i' AND q.seqrelid = d.objid AND o.attidentity <> ''"
" AND o.attrelid = $1 AND o.attname = $2 AND n.attrelid = $1 AND n.attname = $3 AND n.attnotnull"
" AND n.atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)"
" AND (NOT n.atthasdef OR " USED_BY_DEFAULT ")";

/* Where it has got to: nobody else goes on from there, for it is locked. */
static char *
set_position(Oid sequence, const char *call)
{
	char	   *columns[2];
	char	   *name = migrate_store_relation_sql(sequence);

	LockRelationOid(sequence, AccessExclusiveLock);
	if (!migrate_store_fetch_row(psprintf("SELECT last_value, is_called FROM %s", name),
								 STORE_NO_ARGS, lengthof(columns), columns))
		elog(ERROR, "sequence %s is empty", name);
	return psprintf("%s%s, %s)", call, columns[0],
					strcmp(columns[1], "t") == 0 ? "true" : "false");
}

/* The default that uses the old sequence has to go before it does. */
static List *
prepare_identity(Oid relid, const AddedColumn *column)
{
	char	   *columns[4];

	if (!migrate_store_fetch_row(identities,
								 STORE_ARGS(store_relation(relid), store_name(column->rename_to),
											store_name(column->name)),
								 lengthof(columns), columns))
		return NIL;
	if (strcmp(columns[1], "t") == 0)
		migrate_store_ddl(relid, psprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT",
										  migrate_store_relation_sql(relid),
										  quote_identifier(column->name)));
	return list_make2(columns[2], set_position(atooid(columns[0]), columns[3]));
}

/* ---- names ---- */

/* Those that the definition gave are as they are to be. Its types may be called otherwise now. */
static List *
given_names(const Migration *migration)
{
	char	   *sql = psprintf("CREATE TABLE x (%s\n)", migration->add_source);
	List	   *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);
	List	   *names = NIL;
	ListCell   *lc;
	ListCell   *each;

	foreach(lc, ((CreateStmt *) linitial_node(RawStmt, parsed)->stmt)->tableElts)
	{
		foreach(each, lfirst_node(ColumnDef, lc)->constraints)
			if (lfirst_node(Constraint, each)->conname != NULL)
				names = lappend(names, lfirst_node(Constraint, each)->conname);
	}
	return names;
}

static List *
numbered_names(const Migration *migration)
{
	return migrate_store_fetch_list("SELECT name FROM (SELECT migration, name FROM migrate.added_constraint"
									"  UNION ALL SELECT migration, name FROM migrate.added_reference"
									"  UNION ALL SELECT migration, name FROM migrate.declared_index) a"
									" WHERE migration = $1 AND name ~ '_(key|idx|check|fkey|not_null)[0-9]+$'"
									"  AND name <> ALL ($2) ORDER BY name",
									STORE_ARGS(store_text(migration->name),
											   store_name_array(given_names(migration))));
}

/* Give object $2 of table $1 the name without the number, where that is free by now. */
static const char *const renaming =
"SELECT CASE WHEN c.oid IS NULL THEN format('ALTER INDEX %I.%I RENAME TO %I', s.nspname, $2, b.name)"
"  ELSE format('ALTER TABLE %I.%I RENAME CONSTRAINT %I TO %I', s.nspname, t.relname, $2, b.name) END"
" FROM pg_class t JOIN pg_namespace s ON s.oid = t.relnamespace"
" CROSS JOIN LATERAL (SELECT regexp_replace($2, '[0-9]+$', '')::name AS name) b"
" LEFT JOIN pg_constraint c ON c.conrelid = t.oid AND c.conname = $2"
" LEFT JOIN pg_class i ON i.relnamespace = t.relnamespace AND i.relname = $2"
" WHERE t.oid = $1 AND coalesce(c.oid, i.oid) IS NOT NULL"
" AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND conname = b.name)"
" AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = t.relnamespace AND relname = b.name)"
" AND NOT EXISTS (SELECT FROM migrate.declared_index d JOIN pg_class r ON r.oid = d.relation"
"  WHERE r.relnamespace = t.relnamespace AND d.name = b.name)";

static void
take_name(Oid relid, const char *numbered)
{
	run_all(relid, migrate_store_fetch_list(renaming,
											STORE_ARGS(store_relation(relid),
													   store_name(numbered))));
}

static void
rename_column(const Migration *migration, const AddedColumn *column)
{
	migrate_store_ddl(migration->relid,
					  psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s",
							   migrate_store_relation_sql(migration->relid),
							   quote_identifier(column->name),
							   quote_identifier(column->rename_to)));
	migrate_store_execute("UPDATE migrate.added_column SET name = rename_to, rename_to = NULL"
						  " WHERE migration = $1 AND name = $2",
						  STORE_ARGS(store_text(migration->name), store_name(column->name)));
}

/* ---- before and after ---- */

Heritage *
migrate_take_place_begin(const Migration *migration, List *dropped)
{
	Heritage   *heritage = palloc0(sizeof(Heritage));
	ListCell   *lc;
	ListCell   *heap;

	keep_sequences(migration->relid, dropped);
	foreach(lc, migration->added)
	{
		const AddedColumn *column = lfirst(lc);

		if (column->rename_to == NULL)
			continue;
		foreach(heap, find_all_inheritors(migration->relid, NoLock, NULL))
		{
			take_privileges(lfirst_oid(heap), column->rename_to, column->name);
			take_settings(lfirst_oid(heap), column->rename_to, column->name);
		}
		heritage->identities = list_concat(heritage->identities,
										   prepare_identity(migration->relid, column));
		if (heritage->numbered == NIL)
			heritage->numbered = numbered_names(migration);
	}
	return heritage;
}

void
migrate_take_place_end(const Migration *migration, Heritage *heritage)
{
	ListCell   *lc;

	foreach(lc, migration->added)
		if (((AddedColumn *) lfirst(lc))->rename_to != NULL)
			rename_column(migration, lfirst(lc));
	run_all(migration->relid, heritage->identities);
	foreach(lc, heritage->numbered)
		take_name(migration->relid, lfirst(lc));
}
