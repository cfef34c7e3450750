/*
 * lifecycle/publish.c
 *		Views that show the managed tables as a release knows them.
 *
 * Each is a plain view of one table with the release's columns under the release's
 * names, so that the server makes it updatable by itself. It is a
 * security_invoker view: who uses it needs the rights on the table that it
 * would need there, and the table's row-level security is that of who asks. What the
 * table's columns read as while rows are stale is none of its business:
 * the planner hook sees the table below it.
 *
 * Which columns: all that the table has, but for the row version, those of live
 * migrations that the release lacks, and those that migrations it has will
 * remove. A column that takes another one's name has that name, and its place.
 *
 * Which tables: all that are managed. A schema has one view of a name, so of tables
 * that are called the same it shows the one that it showed before, or else the one that the
 * caller's search_path finds. A view keeps its name when its table gets another.
 *
 * Who may create objects in the schema could put some in the way of those who use
 * it: a schema that was there is taken only if nobody can who may not publish. Nor is a
 * view taken over that is not ours.
 *
 * Statements are made from the catalog and run with the caller's rights, in one
 * transaction: nothing is half published. The views take AccessShareLock on
 * their tables while they are made. The row in migrate.publication comes first: of
 * two that publish in one schema, the other waits for it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "catalog/store.h"
#include "lifecycle/publish.h"
#include "lifecycle/release.h"

/* ---- what is shown of a table ---- */

/* Of table $1, in release $2: the columns, the names that they are shown by, and their order. */
#define SHOWN_COLUMNS \
	"WITH live AS (" \
	"  SELECT m.name, m.remove, EXISTS (SELECT FROM migrate.release_migration r" \
	"    WHERE r.release = $2 AND r.migration = m.name) AS is_known" \
	"  FROM migrate.migration m WHERE m.relation = $1 AND m.state IN ('expanded', 'complete'))," \
	" shown AS (" \
	"  SELECT a.attnum, a.attname, a.attacl, coalesce(n.rename_to, a.attname) AS name," \
	"    coalesce(o.attnum, a.attnum) AS place" \
	"  FROM pg_attribute a" \
	"  JOIN migrate.managed g ON g.relation = a.attrelid" \
	"  LEFT JOIN (migrate.added_column n JOIN live ON live.name = n.migration) ON n.name = a.attname" \
	"  LEFT JOIN pg_attribute o ON o.attrelid = a.attrelid AND o.attname = n.rename_to" \
	"    AND NOT o.attisdropped" \
	"  WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped" \
	"  AND a.attname <> g.version_column AND is_known IS NOT FALSE" \
	"  AND NOT EXISTS (SELECT FROM live l WHERE l.is_known AND a.attname = ANY (l.remove)))"

#define GRANTEE \
	"CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END," \
	" CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END"

#define RIGHTS_OF_VIEWS	"privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')"

/*
 * A view can be replaced where it keeps its columns, in their order; new ones come last.
 * One that there is, $5, and that has others, is dropped first.
 */
#define REPLACEABLE \
	"fit AS (SELECT $5 <> 0 AND NOT EXISTS (" \
	"  SELECT FROM pg_attribute v WHERE v.attrelid = $5 AND v.attnum > 0 AND NOT EXISTS (" \
	"   SELECT FROM shown JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = shown.attnum" \
	"   WHERE shown.name = v.attname AND a.atttypid = v.atttypid" \
	"   AND a.atttypmod = v.atttypmod AND a.attcollation = v.attcollation)) AS is_fit)"

/*
 * The statements that publish table $1 of release $2 in schema $3 as $4: the view
 * first, then privileges, then comments.
 */
static const char *const statements =
SHOWN_COLUMNS
", " REPLACEABLE
" SELECT format('DROP VIEW %I.%I', $3, $4) FROM fit WHERE $5 <> 0 AND NOT is_fit"
" UNION ALL SELECT format('CREATE%s VIEW %I.%I WITH (security_invoker = true) AS SELECT %s FROM %I.%I',"
"   CASE WHEN is_fit THEN ' OR REPLACE' END, $3, $4,"
"   (SELECT string_agg(quote_ident(shown.attname) || ' AS ' || quote_ident(name), ', '"
"     ORDER BY v.attnum, place) FROM shown"
"     LEFT JOIN pg_attribute v ON is_fit AND v.attrelid = $5 AND v.attname = name), s.nspname, c.relname)"
" FROM fit, pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.oid = $1"
" UNION ALL SELECT * FROM ("
"  SELECT format('GRANT %s ON %I.%I TO %s%s', privilege_type, $3, $4, " GRANTEE ")"
"  FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))"
"  WHERE c.oid = $1 AND " RIGHTS_OF_VIEWS
"  UNION ALL SELECT format('GRANT %s (%I) ON %I.%I TO %s%s', privilege_type, name, $3, $4, " GRANTEE ")"
"  FROM shown, aclexplode(attacl), pg_class c WHERE c.oid = $1 AND " RIGHTS_OF_VIEWS
"  UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %s%s', $3, " GRANTEE ")"
"  FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace,"
"   aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner)))"
"  WHERE c.oid = $1 AND privilege_type = 'USAGE'"
"  UNION ALL SELECT format('COMMENT ON VIEW %I.%I IS %L', $3, $4, obj_description(oid, 'pg_class'))"
"  FROM pg_class WHERE oid = $1 AND obj_description(oid, 'pg_class') IS NOT NULL"
"  UNION ALL SELECT format('COMMENT ON COLUMN %I.%I.%I IS %L', $3, $4, name,"
"   col_description($1, attnum)) FROM shown"
"  WHERE col_description($1, attnum) IS NOT NULL) rest";

/* ---- the caller's statements ---- */

static void
run(const char *sql)
{
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
}

/* ---- which tables ---- */

typedef struct Shown
{
	Oid			relid;
	char	   *name;			/* of the view, that is or will be */
	Oid			view;			/* InvalidOid: will be */
} Shown;

/* Of schema $1, as "v": the views there that are ours. */
#define OUR_VIEWS \
	"migrate.published_view p JOIN pg_class v ON v.oid = p.view AND v.relkind = 'v'" \
	" JOIN pg_namespace s ON s.oid = v.relnamespace AND s.nspname = p.schema_name"

static List *
all_tables(const char *schema)
{
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_rows("SELECT m.relation::oid, coalesce(o.name, c.relname),"
										 " coalesce(o.view, 0)"
										 " FROM migrate.managed m JOIN pg_class c ON c.oid = m.relation"
										 " LEFT JOIN (SELECT p.relation, v.oid AS view, v.relname AS name FROM "
										 OUR_VIEWS " WHERE p.schema_name = $1) o ON o.relation = m.relation"
										 " ORDER BY m.relation", STORE_ARGS(store_name(schema)), 3))
	{
		char	  **columns = lfirst(lc);
		Shown	   *table = palloc(sizeof(Shown));

		table->relid = atooid(columns[0]);
		table->name = columns[1];
		table->view = atooid(columns[2]);
		tables = lappend(tables, table);
	}
	return tables;
}

/* The view that is there before the table that the caller sees. */
static int
claim_of(const Shown *table)
{
	if (OidIsValid(table->view))
		return 2;
	return RelationIsVisible(table->relid) ? 1 : 0;
}

/* The one that has a view's name: among others that are called the same, the best claim. */
static Shown *
owner_of_name(List *tables, const char *name)
{
	Shown	   *best = NULL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		Shown	   *table = lfirst(lc);

		if (strcmp(table->name, name) != 0)
			continue;
		if (best != NULL && claim_of(best) == claim_of(table))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("managed tables of one name cannot be published together"),
					 errdetail("They are %s and %s.", migrate_store_relation_sql(best->relid),
							   migrate_store_relation_sql(table->relid)),
					 errhint("SET search_path so that it finds the one that is meant; the other one can be published in another schema.")));
		if (best == NULL || claim_of(best) < claim_of(table))
			best = table;
	}
	return best;
}

static bool
has_its_name(List *tables, const Shown *table)
{
	Shown	   *owner = owner_of_name(tables, table->name);

	if (owner != table)
		ereport(NOTICE,
				(errmsg("table %s is not published, but %s is under that name",
						migrate_store_relation_sql(table->relid),
						migrate_store_relation_sql(owner->relid))));
	return owner == table;
}

static void
publish_table(const Shown *table, const char *release, const char *schema)
{
	List	   *to_run;
	ListCell   *lc;

	LockRelationOid(table->relid, AccessShareLock);
	to_run = migrate_store_fetch_list(statements,
									  STORE_ARGS(store_relation(table->relid), store_text(release),
												 store_name(schema), store_name(table->name),
												 store_oid(table->view)));
	foreach(lc, to_run)
		run(lfirst(lc));
	if (OidIsValid(table->view))
		migrate_store_execute("DELETE FROM migrate.published_view WHERE view = $1",
							  STORE_ARGS(store_oid(table->view)));
	migrate_store_execute("INSERT INTO migrate.published_view"
						  " SELECT v.oid, $1, $2 FROM pg_class v"
						  " JOIN pg_namespace s ON s.oid = v.relnamespace"
						  " WHERE s.nspname = $2 AND v.relname = $3"
						  " ON CONFLICT (view) DO UPDATE"
						  " SET relation = EXCLUDED.relation, schema_name = EXCLUDED.schema_name",
						  STORE_ARGS(store_relation(table->relid), store_name(schema),
									 store_name(table->name)));
}

/* ---- which release, and where ---- */

static void
check_expanded(const char *release)
{
	char	   *migration = migrate_store_fetch("SELECT m.name FROM migrate.release_migration r"
												" JOIN migrate.migration m ON m.name = r.migration"
												" WHERE r.release = $1 AND m.state IN ('defined', 'rolled back')"
												" ORDER BY m.seq LIMIT 1",
												STORE_ARGS(store_text(release)));

	if (migration != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("release \"%s\" cannot be published: migration \"%s\" is not expanded",
						release, migration),
				 errhint("Call migrate.expand(%s) first.", quote_literal_cstr(migration))));
}

static void
take_schema(const char *release, const char *schema)
{
	char	   *other;

	migrate_store_execute("INSERT INTO migrate.publication VALUES ($1, $2) ON CONFLICT DO NOTHING",
						  STORE_ARGS(store_name(schema), store_text(release)));
	other = migrate_store_fetch("SELECT release FROM migrate.publication"
								" WHERE schema_name = $1 AND release <> $2",
								STORE_ARGS(store_name(schema), store_text(release)));
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_SCHEMA),
				 errmsg("schema \"%s\" publishes release \"%s\"", schema, other),
				 errhint("Choose another schema, or call migrate.unpublish(%s) first.",
						 quote_literal_cstr(schema))));
}

/* May a role be trusted with what those find who use the schema? PUBLIC is InvalidOid. */
static bool
may_create(Oid role)
{
	return role == ROLE_PG_DATABASE_OWNER ||
		(OidIsValid(role) && migrate_release_may_change(role));
}

static void
check_schema(const char *schema)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT nspowner FROM pg_namespace WHERE nspname = $1"
										 " UNION SELECT a.grantee FROM pg_namespace, aclexplode(nspacl) a"
										 " WHERE nspname = $1 AND a.privilege_type = 'CREATE'",
										 STORE_ARGS(store_name(schema))))
	{
		Oid			role = atooid(lfirst(lc));

		if (!may_create(role))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("schema \"%s\" cannot publish a release: %s may create objects in it", schema,
							OidIsValid(role) ? psprintf("role \"%s\"", GetUserNameFromId(role, false)) : "everybody"),
					 errdetail("Those who use the views could be made to use such objects."),
					 errhint("Choose another schema, or see that only who may publish owns it and has CREATE on it.")));
	}
}

/* ---- publishing ---- */

void
migrate_publish(const char *release, const char *schema)
{
	List	   *tables;
	ListCell   *lc;

	migrate_release_check_rights();
	migrate_release_check_active(release);
	check_expanded(release);
	take_schema(release, schema);
	if (OidIsValid(get_namespace_oid(schema, true)))
		check_schema(schema);
	else
		run(psprintf("CREATE SCHEMA %s", quote_identifier(schema)));
	tables = all_tables(schema);
	foreach(lc, tables)
		if (has_its_name(tables, lfirst(lc)))
			publish_table(lfirst(lc), release, schema);
}

/* ---- taking it back ---- */

void
migrate_unpublish(const char *schema)
{
	ListCell   *lc;

	migrate_release_check_rights();
	if (migrate_store_execute("DELETE FROM migrate.publication WHERE schema_name = $1",
							  STORE_ARGS(store_name(schema))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema \"%s\" publishes no release", schema)));
	foreach(lc, migrate_store_fetch_list("SELECT format('DROP VIEW %I.%I', s.nspname, v.relname)"
										 " FROM " OUR_VIEWS " WHERE p.schema_name = $1 ORDER BY v.relname",
										 STORE_ARGS(store_name(schema))))
		run(lfirst(lc));
	migrate_store_execute("DELETE FROM migrate.published_view WHERE schema_name = $1",
						  STORE_ARGS(store_name(schema)));
	if (migrate_store_fetch("SELECT 1 FROM pg_depend d JOIN pg_namespace s ON s.oid = d.refobjid"
							" WHERE d.refclassid = 'pg_namespace'::regclass AND s.nspname = $1 LIMIT 1",
							STORE_ARGS(store_name(schema))) == NULL)
		run(psprintf("DROP SCHEMA IF EXISTS %s", quote_identifier(schema)));
}
