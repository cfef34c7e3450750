/*
 * lifecycle/index_definition.c
 *		Declared indexes as they are recorded, and as statements.
 *
 * What is recorded is text, the same for the table and all its partitions. To
 * transform it may run the code of a domain that a constant is of, so that is
 * done with the table owner's rights, restricted, and not by the server, which
 * would do it with those of the process that builds.
 *
 * An index is found again by its name, which is no proof of what it is: somebody
 * may have taken the name meanwhile. So it is compared with what its statement
 * would make, as the server does when it looks for a partition's index to attach.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_utilcmd.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "lifecycle/index.h"
#include "lifecycle/index_definition.h"
#include "migrate.h"

/* ---- what is recorded ---- */

static bool
is_true(const char *text)
{
	return strcmp(text, "t") == 0;
}

Declared *
migrate_declared_load(Oid root, const char *name)
{
	char	   *columns[6];
	Declared   *declared = palloc(sizeof(Declared));

	if (!migrate_store_fetch_row("SELECT name, migration, columns, is_unique, while_stale,"
								 "  error IS NOT NULL"
								 " FROM migrate.declared_index WHERE relation = $1 AND name = $2",
								 STORE_ARGS(store_relation(root), store_name(name)),
								 lengthof(columns), columns))
		return NULL;
	declared->name = columns[0];
	declared->migration = columns[1];
	declared->columns = columns[2];
	declared->is_unique = is_true(columns[3]);
	declared->while_stale = is_true(columns[4]);
	declared->failed = is_true(columns[5]);
	return declared;
}

List *
migrate_declared_load_all(Oid root)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT d.name FROM migrate.declared_index d"
										 " JOIN migrate.migration m ON m.name = d.migration"
										 " WHERE d.relation = $1 AND m.state = 'expanded'"
										 " ORDER BY d.name",
										 STORE_ARGS(store_relation(root))))
	{
		Declared   *declared = migrate_declared_load(root, lfirst(lc));

		if (declared != NULL)
			result = lappend(result, declared);
	}
	return result;
}

/* ---- names ---- */

char *
migrate_stale_index_name(const char *name)
{
	return makeObjectName(MIGRATE_INDEX_PREFIX, name, NULL);
}

/*
 * A partition's index goes by a name of ours until it is attached. Long names are
 * cut off, so what makes it the only one is in a number.
 */
static char *
name_on_leaf(Oid leaf, const Declared *declared, bool is_stale)
{
	char	   *relation = get_rel_name(leaf);
	char	   *whole = psprintf("%s.%s.%d", relation, declared->name, is_stale);
	uint32		number = hash_bytes((const unsigned char *) whole, strlen(whole));

	return makeObjectName(MIGRATE_INDEX_PREFIX, relation, psprintf("%08x", number));
}

char *
migrate_declared_index_name(Oid root, Oid heap, const Declared *declared, bool is_stale)
{
	if (heap != root)
		return name_on_leaf(heap, declared, is_stale);
	return is_stale ? migrate_stale_index_name(declared->name) : declared->name;
}

char *
migrate_declared_joined_columns(const IndexStmt *statement)
{
	StringInfoData joined;
	ListCell   *lc;

	initStringInfo(&joined);
	foreach(lc, statement->indexParams)
	{
		const IndexElem *element = lfirst_node(IndexElem, lc);
		const char *name = element->indexcolname ? element->indexcolname : element->name;

		appendStringInfo(&joined, "%s%s", joined.len > 0 ? "_" : "", name ? name : "expr");
	}
	return joined.data;
}

/* ---- the statement ---- */

static const Expr *
reading_of(Oid relid, AttrNumber attno)
{
	Conversion *conversion = migrate_conversion_get(relid);

	return conversion == NULL ? NULL
		: migrate_conversion_reading(conversion,
									 migrate_conversion_first_incomplete(conversion), attno);
}

static Node *
read_columns(Node *node, Oid *relid)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		const Expr *reading = reading_of(*relid, ((Var *) node)->varattno);

		return copyObject(reading ? (Node *) reading : node);
	}
	return expression_tree_mutator(node, read_columns, relid);
}

/* The columns replaced by what they read as: the tree that queries get, not its text. */
static void
read_element(IndexElem *element, Oid relid)
{
	const Expr *reading;

	if (element->name == NULL)
	{
		element->expr = read_columns(element->expr, &relid);
		return;
	}
	reading = reading_of(relid, get_attnum(relid, element->name));
	if (reading == NULL)
		return;
	element->indexcolname = element->name;
	element->name = NULL;
	element->expr = copyObject((Node *) reading);
}

static void
transform(Oid relid, IndexStmt *statement, const char *sql)
{
	StoreIdentity self;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(relid));
	(void) transformIndexStmt(relid, statement, sql);
	migrate_store_become_self(&self);
}

IndexStmt *
migrate_declared_statement(Oid relid, const Declared *declared, const char *name, bool is_stale)
{
	char	   *sql = psprintf("CREATE %sINDEX CONCURRENTLY %s ON %s (%s)",
							   declared->is_unique ? "UNIQUE " : "", quote_identifier(name),
							   migrate_store_relation_sql(relid), declared->columns);
	IndexStmt  *statement;
	ListCell   *lc;

	LockRelationOid(relid, AccessShareLock);
	statement = (IndexStmt *) linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt;
	transform(relid, statement, sql);
	if (is_stale)
		foreach(lc, statement->indexParams)
			read_element(lfirst_node(IndexElem, lc), relid);
	return statement;
}

/* ---- is it made? ---- */

/* As the server stores it: without a COLLATE on top, and folded. */
static Node *
bare_expression(Node *expr)
{
	while (IsA(expr, CollateExpr))
		expr = (Node *) ((CollateExpr *) expr)->arg;
	return eval_const_expressions(NULL, expr);
}

static int16
option_of(const IndexElem *element)
{
	bool		is_descending = element->ordering == SORTBY_DESC;
	bool		nulls_first = element->nulls_ordering == SORTBY_NULLS_DEFAULT
		? is_descending : element->nulls_ordering == SORTBY_NULLS_FIRST;

	return (is_descending ? INDOPTION_DESC : 0) | (nulls_first ? INDOPTION_NULLS_FIRST : 0);
}

/* Is an index's column what an element says? Its expressions are compared by themselves. */
static bool
is_same_column(Relation index, int i, Oid relid, const IndexElem *element, List **expressions)
{
	Node	   *expr = element->name ? NULL : bare_expression(element->expr);
	AttrNumber	attno = element->name ? get_attnum(relid, element->name)
		: IsA(expr, Var) ? ((Var *) expr)->varattno : InvalidAttrNumber;
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			opclass;

	if (element->name)
		get_atttypetypmodcoll(relid, attno, &type, &typmod, &collation);
	else
	{
		type = exprType(element->expr);
		collation = exprCollation(element->expr);
	}
	if (element->collation != NIL)
		collation = get_collation_oid(element->collation, false);
	if (attno == InvalidAttrNumber)
		*expressions = lappend(*expressions, expr);
	opclass = ResolveOpClass(element->opclass, type, "btree", BTREE_AM_OID);
	return index->rd_index->indkey.values[i] == attno &&
		index->rd_indcollation[i] == collation &&
		index->rd_opfamily[i] == get_opclass_family(opclass) &&
		index->rd_indoption[i] == option_of(element);
}

static bool
is_made(Relation index, Oid relid, const IndexStmt *statement)
{
	const FormData_pg_index *form = index->rd_index;
	List	   *expressions = NIL;
	ListCell   *lc;

	if (form->indrelid != relid || form->indisunique != statement->unique ||
		index->rd_rel->relam != BTREE_AM_OID || !form->indimmediate ||
		form->indnkeyatts != list_length(statement->indexParams) ||
		form->indnatts != form->indnkeyatts ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	foreach(lc, statement->indexParams)
		if (!is_same_column(index, foreach_current_index(lc), relid,
							lfirst_node(IndexElem, lc), &expressions))
			return false;
	return equal(RelationGetIndexExpressions(index), expressions);
}

/* Expressions are folded for it, here and in the relcache: that is the owner's to run. */
bool
migrate_declared_is_made(Oid index, Oid relid, const IndexStmt *statement)
{
	Relation	rel = index_open(index, AccessShareLock);
	StoreIdentity self;
	bool		made;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(relid));
	made = is_made(rel, relid, statement);
	migrate_store_become_self(&self);
	index_close(rel, AccessShareLock);
	return made;
}
