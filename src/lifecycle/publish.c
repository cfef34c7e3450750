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
 * Statements are made from the catalog and run with the caller's rights, in one
 * transaction: nothing is half published. The views take AccessShareLock on
 * their tables while they are made.
 */
#include "postgres.h"

#include "catalog/namespace.h"
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
 * The statements that publish table $1 of release $2 in schema $3: the view first,
 * then privileges, then comments.
 */
static const char *const statements =
SHOWN_COLUMNS
" SELECT format('CREATE OR REPLACE VIEW %I.%I WITH (security_invoker = true) AS SELECT %s FROM %I.%I',"
"   $3, c.relname, (SELECT string_agg(quote_ident(attname) || ' AS ' || quote_ident(name), ', '"
"     ORDER BY place) FROM shown), s.nspname, c.relname) AS sql"
" FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.oid = $1"
" UNION ALL SELECT * FROM ("
"  SELECT format('GRANT %s ON %I.%I TO %s%s', privilege_type, $3, c.relname, " GRANTEE ")"
"  FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))"
"  WHERE c.oid = $1 AND " RIGHTS_OF_VIEWS
"  UNION ALL SELECT format('GRANT %s (%I) ON %I.%I TO %s%s', privilege_type, name, $3, c.relname, " GRANTEE ")"
"  FROM shown, aclexplode(attacl), pg_class c WHERE c.oid = $1 AND " RIGHTS_OF_VIEWS
"  UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %s%s', $3, " GRANTEE ")"
"  FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace,"
"   aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner)))"
"  WHERE c.oid = $1 AND privilege_type = 'USAGE'"
"  UNION ALL SELECT format('COMMENT ON VIEW %I.%I IS %L', $3, relname, obj_description(oid, 'pg_class'))"
"  FROM pg_class WHERE oid = $1 AND obj_description(oid, 'pg_class') IS NOT NULL"
"  UNION ALL SELECT format('COMMENT ON COLUMN %I.%I.%I IS %L', $3, c.relname, name,"
"   col_description($1, attnum)) FROM shown, pg_class c"
"  WHERE c.oid = $1 AND col_description($1, attnum) IS NOT NULL) rest";

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

static void
publish_table(Oid relid, const char *release, const char *schema)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list(statements,
										 STORE_ARGS(store_relation(relid), store_text(release),
													store_name(schema))))
		run(lfirst(lc));
}

/* ---- publishing ---- */

static void
check_free(const char *release, const char *schema)
{
	char	   *other = migrate_store_fetch("SELECT release FROM migrate.publication"
											" WHERE schema_name = $1 AND release <> $2",
											STORE_ARGS(store_name(schema), store_text(release)));

	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_SCHEMA),
				 errmsg("schema \"%s\" publishes release \"%s\"", schema, other),
				 errhint("Choose another schema, or call migrate.unpublish(%s) first.",
						 quote_literal_cstr(schema))));
}

/* Two tables of one name cannot be shown in one schema. */
static void
check_names(void)
{
	char	   *twice = migrate_store_fetch("SELECT string_agg(format('%I.%I', c.relnamespace::regnamespace,"
											" c.relname), ', ' ORDER BY c.oid)"
											" FROM migrate.managed m JOIN pg_class c ON c.oid = m.relation"
											" GROUP BY c.relname HAVING count(*) > 1 LIMIT 1",
											STORE_NO_ARGS);

	if (twice != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("managed tables of one name cannot be published together"),
				 errdetail("They are %s.", twice)));
}

void
migrate_publish(const char *release, const char *schema)
{
	ListCell   *lc;

	migrate_release_check_rights();
	migrate_release_check_active(release);
	check_free(release, schema);
	check_names();
	if (!OidIsValid(get_namespace_oid(schema, true)))
		run(psprintf("CREATE SCHEMA %s", quote_identifier(schema)));
	foreach(lc, migrate_store_fetch_list("SELECT relation::oid FROM migrate.managed"
										 " ORDER BY relation", STORE_NO_ARGS))
	{
		Oid			relid = atooid(lfirst(lc));

		LockRelationOid(relid, AccessShareLock);
		publish_table(relid, release, schema);
	}
	migrate_store_execute("INSERT INTO migrate.publication VALUES ($1, $2) ON CONFLICT DO NOTHING",
						  STORE_ARGS(store_name(schema), store_text(release)));
}

/* ---- taking it back ---- */

/* Our views there: of managed tables, under their names, with nothing else below. */
static const char *const drop_statements =
"SELECT format('DROP VIEW %I.%I', s.nspname, v.relname)"
" FROM pg_class v JOIN pg_namespace s ON s.oid = v.relnamespace"
" WHERE s.nspname = $1 AND v.relkind = 'v' AND v.relname IN"
"  (SELECT c.relname FROM migrate.managed m JOIN pg_class c ON c.oid = m.relation)"
" ORDER BY v.relname";

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
	foreach(lc, migrate_store_fetch_list(drop_statements, STORE_ARGS(store_name(schema))))
		run(lfirst(lc));
	if (migrate_store_fetch("SELECT 1 FROM pg_depend d JOIN pg_namespace s ON s.oid = d.refobjid"
							" WHERE d.refclassid = 'pg_namespace'::regclass AND s.nspname = $1 LIMIT 1",
							STORE_ARGS(store_name(schema))) == NULL)
		run(psprintf("DROP SCHEMA IF EXISTS %s", quote_identifier(schema)));
}
