/*
 * lifecycle/index.c
 *		Declaring an index on new columns.
 *
 * A declaration is a row of migrate.declared_index; its columns are kept as
 * text in which every name is qualified. While the migration is expanded,
 * what is declared is built in the background (lifecycle/index_work.c says what
 * is to be done, worker/index_builder.c does it):
 *
 * - the plain index, when no row is left to convert: conversions stay HOT until
 *   then. The migration is not complete before it stands.
 * - if declared while_stale, at once an index on what the columns read as. The
 *   planner finds it for conditions on the columns, since both are made from
 *   one tree. It is dropped when the migration is complete.
 *
 * Locks: none on the table but AccessShareLock. A declaration and the end of
 * its migration take turns by the migration's row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_opclass.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_utilcmd.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "backfill/progress.h"
#include "catalog/heaps.h"
#include "catalog/migration.h"
#include "catalog/names.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "lifecycle/index.h"
#include "lifecycle/index_definition.h"
#include "lifecycle/lock.h"
#include "migrate.h"
#include "shmem.h"

/* ---- reading the columns ---- */

#define PREFIX	"CREATE INDEX ON x ("

static void
columns_error_callback(void *columns)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - (int) strlen(PREFIX), 1));
		internalerrquery(columns);
	}
	errcontext("argument \"columns\"");
}

/* What is no list of index elements would go on behind the parenthesis. */
static bool
is_plain(const IndexStmt *statement)
{
	return IsA(statement, IndexStmt) && statement->indexIncludingParams == NIL &&
		statement->whereClause == NULL && statement->options == NIL &&
		statement->tableSpace == NULL && !statement->nulls_not_distinct;
}

static List *
parse_columns(const char *columns)
{
	ErrorContextCallback callback = {error_context_stack, columns_error_callback, (void *) columns};
	List	   *parsed;
	IndexStmt  *statement;

	error_context_stack = &callback;
	parsed = raw_parser(psprintf(PREFIX "%s\n)", columns), RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	statement = (IndexStmt *) linitial_node(RawStmt, parsed)->stmt;
	if (list_length(parsed) != 1 || !is_plain(statement))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"columns\" is not a list of index columns"),
				 errhint("Write it as in the parentheses of CREATE INDEX: \"last_name, first_name DESC\".")));
	return statement->indexParams;
}

static char *
collation_text(List *name)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(get_collation_oid(name, false)));
	Form_pg_collation form = (Form_pg_collation) GETSTRUCT(tuple);
	char	   *text = quote_qualified_identifier(get_namespace_name(form->collnamespace),
												  NameStr(form->collname));

	ReleaseSysCache(tuple);
	return text;
}

static char *
opclass_text(Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form = (Form_pg_opclass) GETSTRUCT(tuple);
	char	   *text = quote_qualified_identifier(get_namespace_name(form->opcnamespace),
												  NameStr(form->opcname));

	ReleaseSysCache(tuple);
	return text;
}

static void
refuse_column(int code, const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(code),
			 errmsg("column \"%s\" cannot be in an index of the migration", name),
			 errdetail_internal("%s", detail)));
}

/* An element in words that mean the same under every search_path. */
static char *
element_text(const IndexElem *element, Oid relid)
{
	Oid			type = element->name ? get_atttype(relid, get_attnum(relid, element->name))
		: exprType(element->expr);
	Oid			opclass;
	StringInfoData text;

	initStringInfo(&text);
	if (element->name)
		appendStringInfoString(&text, quote_identifier(element->name));
	else
		appendStringInfo(&text, "(%s)",
						 migrate_expression_to_text(relid, (Expr *) element->expr));
	if (element->collation != NIL)
		appendStringInfo(&text, " COLLATE %s", collation_text(element->collation));
	opclass = ResolveOpClass(element->opclass, type, "btree", BTREE_AM_OID);
	if (element->opclass != NIL)
		appendStringInfo(&text, " %s", opclass_text(opclass));
	if (element->ordering == SORTBY_DESC)
		appendStringInfoString(&text, " DESC");
	if (element->nulls_ordering == SORTBY_NULLS_FIRST)
		appendStringInfoString(&text, " NULLS FIRST");
	if (element->nulls_ordering == SORTBY_NULLS_LAST)
		appendStringInfoString(&text, " NULLS LAST");
	return text.data;
}

typedef struct Columns
{
	List	   *names;			/* of char *, for the index's */
	List	   *plain;			/* of char *: columns that stand alone */
	StringInfoData text;
	bool		any_added;
} Columns;

static void
check_column(Conversion *conversion, const LiveMigration *live, AttrNumber attno,
			 bool while_stale, Columns *columns)
{
	const char *name;
	const Expr *reading;

	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an index expression cannot be of the whole row")));
	name = get_attname(conversion->relid, attno, false);
	if (attno < 0 || attno == conversion->version_attno)
		refuse_column(ERRCODE_INVALID_COLUMN_REFERENCE, name,
					  "It says how rows are stored, not what they hold.");
	for (int i = 0; i < conversion->nlive; i++)
		if (bms_is_member(attno, conversion->live[i].removed))
			refuse_column(ERRCODE_INVALID_COLUMN_REFERENCE, name,
						  "A live migration removes it.");
	if (while_stale && conversion->defers)
		refuse_column(ERRCODE_INVALID_OBJECT_DEFINITION, name,
					  "Writes for which \"up\" fails are deferred, and it would fail in the index, "
					  "so that there can be none while rows are stale.");
	reading = migrate_conversion_reading(conversion, 0, attno);
	if (while_stale && reading != NULL && !migrate_expression_is_inlinable((Node *) reading))
		refuse_column(ERRCODE_INVALID_OBJECT_DEFINITION, name,
					  "\"up\" computes it by more than immutable built-in functions, "
					  "so that there can be no index on it while rows are stale.");
	columns->any_added |= bms_is_member(attno, live->added);
}

static void
check_expression(Conversion *conversion, const LiveMigration *live, Node *expr,
				 bool while_stale, Columns *columns)
{
	Bitmapset  *offset = NULL;
	int			bit = -1;

	if (contain_mutable_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("functions in index expression must be marked IMMUTABLE")));
	pull_varattnos(expr, 1, &offset);
	while ((bit = bms_next_member(offset, bit)) >= 0)
		check_column(conversion, live, bit + FirstLowInvalidHeapAttributeNumber,
					 while_stale, columns);
}

static void
check_element(Conversion *conversion, const LiveMigration *live,
			  const IndexElem *element, bool while_stale, Columns *columns)
{
	AttrNumber	attno;

	if (element->opclassopts != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("operator class parameters are not supported in an index of a migration")));
	if (element->name == NULL)
		check_expression(conversion, live, element->expr, while_stale, columns);
	else
	{
		attno = get_attnum(conversion->relid, element->name);
		if (attno == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" does not exist", element->name)));
		check_column(conversion, live, attno, while_stale, columns);
		columns->plain = lappend(columns->plain, element->name);
	}
	appendStringInfo(&columns->text, "%s%s", columns->text.len > 0 ? ", " : "",
					 element_text(element, conversion->relid));
}

/* A new column that takes an old one's place goes by another name until contract. */
static const char *
interim_name(const Migration *migration, const char *name)
{
	ListCell   *lc;

	foreach(lc, migration->added)
	{
		const AddedColumn *added = lfirst(lc);

		if (added->rename_to != NULL && strcmp(added->rename_to, name) == 0)
			return added->name;
	}
	return name;
}

static bool
use_interim_names(Node *node, void *migration)
{
	ColumnRef  *reference = (ColumnRef *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, use_interim_names, migration);
	if (list_length(reference->fields) == 1 && IsA(linitial(reference->fields), String))
		linitial(reference->fields) =
			makeString(pstrdup(interim_name(migration, strVal(linitial(reference->fields)))));
	return false;
}

/* "(last_name)" is a column like any. */
static void
simplify(IndexElem *element, Oid relid)
{
	const Var  *var = (const Var *) element->expr;

	if (element->name != NULL || !IsA(var, Var) || var->varattno <= 0)
		return;
	element->name = get_attname(relid, var->varattno, false);
	element->expr = NULL;
}

/* Names found and expressions transformed, in the caller's search_path. */
static List *
transform_columns(const Migration *migration, const char *source, Columns *columns)
{
	IndexStmt  *statement = makeNode(IndexStmt);
	ErrorContextCallback callback = {error_context_stack, columns_error_callback, (void *) source};
	ListCell   *lc;

	statement->indexParams = parse_columns(source);
	foreach(lc, statement->indexParams)
	{
		IndexElem  *element = lfirst_node(IndexElem, lc);

		(void) use_interim_names(element->expr, (void *) migration);
		if (element->name != NULL)
		{
			element->indexcolname = element->name;
			element->name = pstrdup(interim_name(migration, element->name));
		}
	}
	error_context_stack = &callback;
	(void) transformIndexStmt(migration->relid, statement, psprintf(PREFIX "%s\n)", source));
	error_context_stack = callback.previous;
	foreach(lc, statement->indexParams)
	{
		IndexElem  *element = lfirst_node(IndexElem, lc);

		columns->names = lappend(columns->names, element->indexcolname
								 ? element->indexcolname : "expr");
		simplify(element, migration->relid);
	}
	return statement->indexParams;
}

static void
check_columns(const Migration *migration, const char *source, bool while_stale, Columns *columns)
{
	Conversion *conversion = migrate_conversion_get(migration->relid);
	const LiveMigration *live = NULL;
	ListCell   *lc;

	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
		if (strcmp(conversion->live[i].name, migration->name) == 0)
			live = &conversion->live[i];
	if (live == NULL)
		elog(ERROR, "migration \"%s\" is not live", migration->name);
	initStringInfo(&columns->text);
	foreach(lc, transform_columns(migration, source, columns))
		check_element(conversion, live, lfirst_node(IndexElem, lc), while_stale, columns);
	if (!columns->any_added)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("the index is on no column that migration \"%s\" adds", migration->name),
				 errhint("Create it with CREATE INDEX CONCURRENTLY.")));
}

/* ---- declaring ---- */

static void
check_migration(const Migration *migration)
{
	migrate_migration_check_owner(migration->relid);
	if (migration->state != MIGRATION_EXPANDED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an index cannot be declared for migration \"%s\"", migration->name),
				 errdetail("It is %s.", migrate_migration_state_name(migration->state)),
				 migration->state == MIGRATION_COMPLETE ?
				 errhint("Create the index with CREATE INDEX CONCURRENTLY.") :
				 errhint("Expand it first.")));
	if (strcmp(migrate_store_fetch("SELECT has_schema_privilege($2::oid, relnamespace, 'CREATE')"
								   " FROM pg_class WHERE oid = $1",
								   STORE_ARGS(store_oid(migration->relid),
											  store_oid(GetUserId()))), "t") != 0)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA,
					   get_namespace_name(get_rel_namespace(migration->relid)));
}

static void
check_key(Oid relid, List *columns)
{
	Relation	rel = table_open(relid, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(rel);

	for (int i = 0; i < get_partition_natts(key); i++)
	{
		AttrNumber	attno = get_partition_col_attnum(key, i);

		if (attno == InvalidAttrNumber ||
			!migrate_names_contain(columns, get_attname(relid, attno, false)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a unique index of a partitioned table must include all partitioning columns"),
					 attno == InvalidAttrNumber
					 ? errdetail("Table \"%s\" is partitioned by an expression.",
								 get_rel_name(relid))
					 : errdetail("It lacks column \"%s\", by which table \"%s\" is partitioned.",
								 get_attname(relid, attno, false), get_rel_name(relid))));
	}
	table_close(rel, NoLock);
}

/* Uniqueness within each partition is uniqueness only with the key of every level. */
static void
check_partition_keys(Oid root, List *columns)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(root, AccessShareLock, NULL))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE)
			check_key(lfirst_oid(lc), columns);
}

static bool
is_taken(Oid relid, const char *name)
{
	return OidIsValid(get_relname_relid(name, get_rel_namespace(relid))) ||
		migrate_store_fetch("SELECT 1 FROM migrate.declared_index d"
							" JOIN pg_class c ON c.oid = d.relation"
							" WHERE d.name = $2 AND c.relnamespace ="
							"  (SELECT relnamespace FROM pg_class WHERE oid = $1)",
							STORE_ARGS(store_oid(relid), store_name(name))) != NULL;
}

/* As CREATE INDEX would call it. */
static char *
choose_name(Oid relid, List *columns, bool is_unique)
{
	const char *label = is_unique ? "key" : "idx";
	StringInfoData joined;
	char	   *name;
	ListCell   *lc;

	initStringInfo(&joined);
	foreach(lc, columns)
		appendStringInfo(&joined, "%s%s", joined.len > 0 ? "_" : "", (char *) lfirst(lc));
	name = makeObjectName(get_rel_name(relid), joined.data, label);
	for (int n = 1; is_taken(relid, name); n++)
		name = makeObjectName(get_rel_name(relid), joined.data, psprintf("%s%d", label, n));
	return name;
}

char *
migrate_index_declare(const char *name, const char *source, bool is_unique, bool while_stale)
{
	Migration  *migration = migrate_migration_load(name, true, false);
	Columns		columns = {0};
	char	   *index;
	char	   *detail;

	LockRelationOid(migration->relid, AccessShareLock);
	check_migration(migration);
	check_columns(migration, source, while_stale, &columns);
	if (is_unique)
		check_partition_keys(migration->relid, columns.plain);
	index = choose_name(migration->relid, columns.names, is_unique);
	migrate_store_execute("INSERT INTO migrate.declared_index"
						  " (relation, name, migration, columns, is_unique, while_stale)"
						  " VALUES ($1, $2, $3, $4, $5, $6)",
						  STORE_ARGS(store_relation(migration->relid), store_name(index),
									 store_text(name), store_text(columns.text.data),
									 store_bool(is_unique), store_bool(while_stale)));
	detail = psprintf("%s (%s)%s%s", quote_identifier(index), columns.text.data,
					  is_unique ? ", unique" : "", while_stale ? ", while stale" : "");
	migrate_migration_record(name, "index declared", detail);
	migrate_shmem_request_work();
	return index;
}

/* ---- UNIQUE in "add" ---- */

void
migrate_index_declare_constraint(const Migration *migration, const char *column,
								 const char *column_label, const char *name)
{
	if (name == NULL)
		name = choose_name(migration->relid, list_make1((char *) column_label), true);
	else if (is_taken(migration->relid, name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name),
				 errdetail("The index of a UNIQUE in \"add\" would have that name.")));
	migrate_store_execute("INSERT INTO migrate.declared_index"
						  " (relation, name, migration, columns, is_unique, while_stale,"
						  "  is_constraint) VALUES ($1, $2, $3, $4, true, false, true)",
						  STORE_ARGS(store_relation(migration->relid), store_name(name),
									 store_text(migration->name),
									 store_text(quote_identifier(column))));
}

bool
migrate_index_make_constraints(Oid root)
{
	List	   *names = migrate_store_fetch_list("SELECT d.name FROM migrate.declared_index d"
												 " JOIN migrate.migration m ON m.name = d.migration"
												 " JOIN pg_class c ON c.relname = d.name"
												 " JOIN pg_index i ON i.indexrelid = c.oid"
												 " WHERE d.relation = $1 AND d.is_constraint"
												 "  AND m.state = 'expanded'"
												 "  AND i.indrelid = d.relation AND i.indisvalid"
												 "  AND NOT EXISTS (SELECT FROM pg_constraint k"
												 "   WHERE k.conindid = i.indexrelid"
												 "   AND k.conrelid = i.indrelid)"
												 " ORDER BY d.name",
												 STORE_ARGS(store_relation(root)));
	ListCell   *lc;

	if (names == NIL)
		return false;
	migrate_lock_table(root, "put constraints of new columns into force");
	foreach(lc, names)
	{
		char	   *name = pstrdup(quote_identifier(lfirst(lc)));

		migrate_store_ddl(root, psprintf("ALTER TABLE %s ADD CONSTRAINT %s UNIQUE USING INDEX %s",
										 migrate_store_relation_sql(root), name, name));
	}
	return true;
}

/* ---- taking back ---- */

static void
drop_if_there(Oid relid, const char *name)
{
	Oid			index = get_relname_relid(name, get_rel_namespace(relid));
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (OidIsValid(index) && IndexGetRelation(index, true) == relid)
		migrate_store_ddl(relid, psprintf("DROP INDEX %s",
										  quote_qualified_identifier(schema, name)));
}

/* On the table, and what is being built on its partitions. */
static void
drop_all(Oid root, const Declared *declared)
{
	ListCell   *lc;

	drop_if_there(root, declared->name);
	foreach(lc, migrate_heaps_of(root))
	{
		Oid			heap = lfirst_oid(lc);

		if (heap != root)
			drop_if_there(heap, migrate_declared_index_name(root, heap, declared, false));
		drop_if_there(heap, migrate_declared_index_name(root, heap, declared, true));
	}
}

/* What its builder would have dropped, had it not been ended. */
static void
drop_stale(Oid root, const Declared *declared)
{
	ListCell   *lc;

	foreach(lc, migrate_heaps_of(root))
		drop_if_there(lfirst_oid(lc),
					  migrate_declared_index_name(root, lfirst_oid(lc), declared, true));
}

void
migrate_index_forget(Oid root, const char *migration)
{
	List	   *names = migrate_store_fetch_list("SELECT name FROM migrate.declared_index"
												 " WHERE migration = $1 AND while_stale",
												 STORE_ARGS(store_text(migration)));
	ListCell   *lc;

	foreach(lc, names)
	{
		Declared   *declared = migrate_declared_load(root, lfirst(lc));

		if (declared != NULL)
			drop_stale(root, declared);
	}
	migrate_store_execute("DELETE FROM migrate.declared_index WHERE migration = $1",
						  STORE_ARGS(store_text(migration)));
}

void
migrate_index_withdraw(const char *name, const char *index)
{
	Migration  *migration = migrate_migration_load(name, true, false);
	Declared   *declared;

	migrate_migration_check_owner(migration->relid);
	migrate_index_stop_builder(migration->relid);
	migrate_lock_table(migration->relid, psprintf("drop index \"%s\"", index));
	declared = migrate_declared_load(migration->relid, index);
	if (migrate_store_execute("DELETE FROM migrate.declared_index"
							  " WHERE migration = $1 AND name = $2",
							  STORE_ARGS(store_text(name), store_name(index))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("migration \"%s\" declares no index \"%s\"", name, index)));
	drop_all(migration->relid, declared);
	migrate_index_forget_failure(name, index);
	migrate_migration_record(name, "index dropped", quote_identifier(index));
	migrate_progress_retry(migration->relid);
	migrate_shmem_request_work();
}
