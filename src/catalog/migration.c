/*
 * catalog/migration.c
 *		A migration as the catalog holds it, and its moves from state to state.
 *
 * A transition first locks its migration's catalog row (load with lock), so
 * that two of them take turns; the one that comes second sees what the first
 * made of it.
 */
#include "postgres.h"

#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "compat.h"
#include "migrate.h"

static const char *const state_names[] = {
	[MIGRATION_DEFINED] = "defined",
	[MIGRATION_EXPANDED] = "expanded",
	[MIGRATION_COMPLETE] = "complete",
	[MIGRATION_CONTRACTED] = "contracted",
	[MIGRATION_ROLLED_BACK] = "rolled back",
};

/* When a state was entered is kept in a column of its own, where one exists. */
static const char *const state_columns[] = {
	[MIGRATION_EXPANDED] = "expanded_at",
	[MIGRATION_COMPLETE] = "completed_at",
	[MIGRATION_CONTRACTED] = "contracted_at",
};

const char *
migrate_migration_state_name(MigrationState state)
{
	return state_names[state];
}

static MigrationState
state_from_name(const char *name)
{
	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(state_names[i], name) == 0)
			return (MigrationState) i;
	elog(ERROR, "unknown migration state \"%s\"", name);
}

bool
migrate_migration_is_live(const Migration *migration)
{
	return migration->state == MIGRATION_EXPANDED || migration->state == MIGRATION_COMPLETE;
}

char *
migrate_migration_version_column(Oid relid)
{
	return migrate_store_fetch("SELECT version_column FROM migrate.managed WHERE relation = $1",
							   STORE_ARGS(store_relation(relid)));
}

bool
migrate_migration_is_trigger_name(const char *name)
{
	return strcmp(name, MIGRATE_TRIGGER_NAME) == 0 ||
		strcmp(name, MIGRATE_LAST_TRIGGER_NAME) == 0 ||
		strcmp(name, MIGRATE_DEFER_TRIGGER_NAME) == 0 ||
		strcmp(name, MIGRATE_MEND_TRIGGER_NAME) == 0;
}

char *
migrate_migration_proof_name(const char *version_column, int32 version)
{
	char		suffix[16];

	snprintf(suffix, sizeof(suffix), "%d", version);
	return makeObjectName(version_column, suffix, NULL);
}

char *
migrate_migration_supported_name(const char *version_column)
{
	return makeObjectName(version_column, "supported", NULL);
}

char *
migrate_migration_proof_text(const Migration *migration, const char *version_column)
{
	int			guc_nestlevel;
	char	   *text;

	if (migration->proof != NULL)
		return migration->proof;
	/* As the store reads the server's text. */
	guc_nestlevel = NewGUCNestLevel();
	(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	text = psprintf("(%s >= %d)", quote_identifier(version_column), migration->version);
	AtEOXact_GUC(false, guc_nestlevel);
	return text;
}

/* ---- reading ---- */

#define MIGRATION_COLUMNS \
	"name, relation::oid, state, version, depends_on, add_source, up_source," \
	" down_source, remove, needed_source, on_error, comment, inputs, search_path," \
	" (SELECT array_agg(c.name::text ORDER BY c.\"position\")" \
	"    FROM migrate.added_column c WHERE c.migration = m.name)," \
	" (SELECT array_agg(c.type ORDER BY c.\"position\")" \
	"    FROM migrate.added_column c WHERE c.migration = m.name), proof," \
	" (SELECT array_agg(coalesce(c.rename_to::text, '') ORDER BY c.\"position\")" \
	"    FROM migrate.added_column c WHERE c.migration = m.name), proof_due," \
	" EXISTS (SELECT FROM migrate.assignment a" \
	"  WHERE a.migration = m.name AND a.direction = 'n')"

static char *
get_string(HeapTuple row, TupleDesc desc, int column)
{
	return SPI_getvalue(row, desc, column);
}

/* A text[] or name[] column as a list of strings; NULL is the empty list. */
static List *
get_strings(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		array = SPI_getbinval(row, desc, column, &isnull);
	bool		is_name = SPI_gettypeid(desc, column) == NAMEARRAYOID;
	Datum	   *elements;
	int			count;
	List	   *result = NIL;

	if (isnull)
		return NIL;
	if (is_name)
		deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false,
						  TYPALIGN_CHAR, &elements, NULL, &count);
	else
		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
						  TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		result = lappend(result, is_name ? pstrdup(NameStr(*DatumGetName(elements[i])))
						 : TextDatumGetCString(elements[i]));
	return result;
}

static List *
get_added_columns(HeapTuple row, TupleDesc desc, int names, int types, int final_names)
{
	List	   *result = NIL;
	ListCell   *name;
	ListCell   *type;
	ListCell   *final_name;

	forthree(name, get_strings(row, desc, names), type, get_strings(row, desc, types),
			 final_name, get_strings(row, desc, final_names))
	{
		char	   *rename_to = lfirst(final_name);
		AddedColumn *column = palloc(sizeof(AddedColumn));

		column->name = lfirst(name);
		column->type = lfirst(type);
		column->rename_to = rename_to[0] != '\0' ? rename_to : NULL;
		result = lappend(result, column);
	}
	return result;
}

static Migration *
migration_from_row(HeapTuple row, TupleDesc desc)
{
	Migration  *migration = palloc0(sizeof(Migration));
	char	   *version = get_string(row, desc, 4);

	migration->name = get_string(row, desc, 1);
	migration->relid = atooid(get_string(row, desc, 2));
	migration->state = state_from_name(get_string(row, desc, 3));
	migration->version = version ? pg_strtoint32(version) : 0;
	migration->depends_on = get_strings(row, desc, 5);
	migration->add_source = get_string(row, desc, 6);
	migration->up_source = get_string(row, desc, 7);
	migration->down_source = get_string(row, desc, 8);
	migration->remove = get_strings(row, desc, 9);
	migration->needed_source = get_string(row, desc, 10);
	migration->on_error = get_string(row, desc, 11);
	migration->comment = get_string(row, desc, 12);
	migration->inputs = get_strings(row, desc, 13);
	migration->search_path = get_string(row, desc, 14);
	migration->added = get_added_columns(row, desc, 15, 16, 18);
	migration->proof = get_string(row, desc, 17);
	migration->proof_due = get_string(row, desc, 19);
	migration->has_needed = strcmp(get_string(row, desc, 20), "t") == 0;
	migration->defers = strcmp(migration->on_error, "defer") == 0;
	return migration;
}

/* Every row of a query for MIGRATION_COLUMNS, in the caller's memory. */
static List *
load_migrations(const char *sql, int nargs, const StoreArg *args)
{
	MemoryContext caller = CurrentMemoryContext;
	StoreIdentity self;
	List	   *result = NIL;
	uint64		rows;

	migrate_store_become_owner(&self);
	SPI_connect();
	rows = migrate_store_spi(sql, nargs, args);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		result = lappend(result, migration_from_row(SPI_tuptable->vals[i],
													SPI_tuptable->tupdesc));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	migrate_store_become_self(&self);
	return result;
}

Migration *
migrate_migration_load(const char *name, bool lock, bool missing_ok)
{
	List	   *found;

	if (lock)
		migrate_store_execute("SELECT 1 FROM migrate.migration WHERE name = $1 FOR UPDATE",
							  STORE_ARGS(store_text(name)));
	found = load_migrations("SELECT " MIGRATION_COLUMNS
							" FROM migrate.migration m WHERE name = $1",
							STORE_ARGS(store_text(name)));
	if (found == NIL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("migration \"%s\" does not exist", name),
				 errhint("See migrate.status for those that do.")));
	return found == NIL ? NULL : linitial(found);
}

List *
migrate_migration_load_live(Oid relid)
{
	return load_migrations("SELECT " MIGRATION_COLUMNS " FROM migrate.migration m"
						   " WHERE relation = $1 AND state IN ('expanded', 'complete')"
						   " ORDER BY version",
						   STORE_ARGS(store_relation(relid)));
}

List *
migrate_migration_constraints(Oid relid)
{
	char	   *version_column = migrate_migration_version_column(relid);
	List	   *live = migrate_migration_load_live(relid);
	List	   *names;
	ListCell   *lc;

	if (live == NIL)
		return list_make1(migrate_migration_supported_name(version_column));
	names = migrate_store_fetch_list("SELECT a.name FROM migrate.added_constraint a"
									 " JOIN migrate.migration m ON m.name = a.migration"
									 " WHERE m.relation = $1 AND m.state IN ('expanded', 'complete')"
									 " AND NOT (a.not_null AND a.phase = 'valid')"
									 " ORDER BY m.version, a.name",
									 STORE_ARGS(store_relation(relid)));
	foreach(lc, live)
		names = lappend(names, migrate_migration_proof_name(version_column,
															((Migration *) lfirst(lc))->version));
	return names;
}

static List *
names_of(List *migrations)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, migrations)
		names = lappend(names, ((Migration *) lfirst(lc))->name);
	return names;
}

List *
migrate_migration_dependents(const char *name, const char *state_list)
{
	return names_of(load_migrations(psprintf("SELECT " MIGRATION_COLUMNS
											 " FROM migrate.migration m"
											 " WHERE $1 = ANY (depends_on) AND state IN (%s)"
											 " ORDER BY seq", state_list),
									STORE_ARGS(store_text(name))));
}

List *
migrate_migration_leaves(Oid relid)
{
	return names_of(load_migrations("SELECT " MIGRATION_COLUMNS
									" FROM migrate.migration m"
									" WHERE relation = $1 AND state <> 'rolled back'"
									" AND m.name NOT IN (SELECT unnest(d.depends_on)"
									"  FROM migrate.migration d WHERE d.relation = $1"
									"  AND d.state <> 'rolled back')"
									" ORDER BY seq",
									STORE_ARGS(store_relation(relid))));
}

/* ---- moving ---- */

void
migrate_migration_record(const char *name, const char *event, const char *detail)
{
	migrate_store_execute("INSERT INTO migrate.event (migration, event, role, detail)"
						  " VALUES ($1, $2, $3, $4)",
						  STORE_ARGS(store_text(name), store_text(event),
									 store_name(GetUserNameFromId(GetUserId(), false)),
									 store_text(detail)));
}

void
migrate_migration_move(Migration *migration, MigrationState state,
					   const char *event, const char *detail)
{
	const char *column = state < lengthof(state_columns) ? state_columns[state] : NULL;
	char	   *sql = psprintf("UPDATE migrate.migration SET state = $2%s%s WHERE name = $1",
							   column ? psprintf(", %s = clock_timestamp()", column) : "",
							   state == MIGRATION_COMPLETE ?
							   ", completed_xid = pg_current_xact_id()" : "");

	migrate_store_execute(sql, STORE_ARGS(store_text(migration->name),
										  store_text(state_names[state])));
	migration->state = state;
	migrate_migration_record(migration->name, event, detail);
}

/* ---- rights ---- */

/* An OID that a client keeps can be of a table that was dropped since. */
void
migrate_migration_check_exists(Oid relid)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
}

/* Only who may alter a table may migrate it. */
void
migrate_migration_check_owner(Oid relid)
{
	if (!compat_is_relation_owner(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

/* ---- the library ---- */

/*
 * Without the hooks that preloading installs nothing is read, written or
 * converted as it should be, and no conversion is found.
 */
void
migrate_migration_check_preloaded(void)
{
	if (!migrate_is_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migrate is not preloaded"),
				 errdetail("Without the library in every backend, rows would be read and written as they are stored."),
				 errhint("Add \"%s\" to shared_preload_libraries and restart the server.",
						 MIGRATE_LIBRARY)));
}
