/*
 * convert/column_parse.c
 *		The columns that a definition adds, with their types and constraints.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/heap.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "convert/expression.h"
#include "convert/scope.h"
#include "convert/source.h"

static void
refuse_constraint(ParseState *pstate, const ColumnDef *def, const Constraint *constraint,
				  const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" of \"add\" has a constraint that is not supported by this version of migrate",
					def->colname),
			 errdetail("NOT NULL, DEFAULT, CHECK, UNIQUE and REFERENCES are."),
			 errhint("%s", hint),
			 parser_errposition(pstate, constraint->location)));
}

static void
take_references(ParseState *pstate, const ColumnDef *def, Constraint *constraint,
				ScopeColumn *column)
{
	if (column->references != NULL)
		refuse_constraint(pstate, def, constraint, "Write one REFERENCES for a column.");
	if (constraint->fk_matchtype == FKCONSTR_MATCH_PARTIAL)
		refuse_constraint(pstate, def, constraint, "Leave out MATCH PARTIAL.");
	column->references = constraint;
}

/* DEFERRABLE and the like belong to the constraint that they follow. */
static void
take_attribute(ParseState *pstate, const ColumnDef *def, const Constraint *attribute,
			   Constraint *to)
{
	if (to == NULL || to->contype != CONSTR_FOREIGN)
		refuse_constraint(pstate, def, attribute, "Write it behind REFERENCES alone.");
	switch (attribute->contype)
	{
		case CONSTR_ATTR_DEFERRABLE:
			to->deferrable = true;
			break;
		case CONSTR_ATTR_DEFERRED:
			to->deferrable = to->initdeferred = true;
			break;
		case CONSTR_ATTR_NOT_DEFERRABLE:
			if (to->deferrable)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("a constraint cannot be both DEFERRABLE and NOT DEFERRABLE"),
						 parser_errposition(pstate, attribute->location)));
			break;
		default:				/* INITIALLY IMMEDIATE */
			break;
	}
}

static void
take_constraints(ParseState *pstate, const ColumnDef *def, ScopeColumn *column)
{
	Constraint *last = NULL;
	ListCell   *lc;

	foreach(lc, def->constraints)
	{
		Constraint *constraint = lfirst_node(Constraint, lc);

		switch (constraint->contype)
		{
			case CONSTR_FOREIGN:
				take_references(pstate, def, constraint, column);
				break;
			case CONSTR_ATTR_DEFERRABLE:
			case CONSTR_ATTR_NOT_DEFERRABLE:
			case CONSTR_ATTR_DEFERRED:
			case CONSTR_ATTR_IMMEDIATE:
				take_attribute(pstate, def, constraint, last);
				continue;
			case CONSTR_NULL:
				break;
			case CONSTR_NOTNULL:
				if (constraint->is_no_inherit)
					refuse_constraint(pstate, def, constraint, "Leave out NO INHERIT.");
				column->not_null = true;
				column->not_null_name = constraint->conname;
				break;
			case CONSTR_DEFAULT:
				column->raw_default = constraint->raw_expr;
				break;
			case CONSTR_CHECK:
				if (constraint->is_no_inherit)
					refuse_constraint(pstate, def, constraint, "Leave out NO INHERIT.");
				column->checks = lappend(column->checks, constraint);
				break;
			case CONSTR_UNIQUE:
				if (constraint->including != NIL || constraint->options != NIL ||
					constraint->indexspace != NULL || constraint->nulls_not_distinct)
					refuse_constraint(pstate, def, constraint, "Write UNIQUE alone.");
				column->unique = constraint;
				break;
			default:
				refuse_constraint(pstate, def, constraint,
								  "Add the constraint with ALTER TABLE once the migration is complete.");
		}
		last = constraint;
	}
}

/* Words that are no types, but tell CREATE TABLE to make a sequence. */
static void
refuse_serial(ParseState *pstate, const ColumnDef *def)
{
	static const char *const words[] = {"smallserial", "serial2", "serial", "serial4",
	"bigserial", "serial8"};

	if (list_length(def->typeName->names) != 1)
		return;
	for (int i = 0; i < lengthof(words); i++)
		if (strcmp(strVal(linitial(def->typeName->names)), words[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of \"add\" cannot be of type %s", def->colname, words[i]),
					 errhint("Create a sequence, and write \"bigint DEFAULT nextval('its name')\"."),
					 parser_errposition(pstate, def->typeName->location)));
}

static ScopeColumn *
parse_column(ParseState *pstate, ColumnDef *def)
{
	ScopeColumn *column = palloc0(sizeof(ScopeColumn));

	refuse_serial(pstate, def);
	take_constraints(pstate, def, column);
	if (compat_column_storage(def) != NULL || def->compression != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of \"add\" has a storage option", def->colname),
				 errhint("Set it with ALTER TABLE once the migration is expanded."),
				 parser_errposition(pstate, def->location)));
	if (SystemAttributeByName(def->colname) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column name \"%s\" conflicts with a system column name", def->colname),
				 errhint("Choose another name."),
				 parser_errposition(pstate, def->location)));

	column->name = def->colname;
	typenameTypeIdAndMod(pstate, def->typeName, &column->type, &column->typmod);
	column->collation = GetColumnDefCollation(pstate, def, column->type);
	CheckAttributeType(column->name, column->type, column->collation, NIL, 0);
	column->added = true;
	return column;
}

List *
migrate_expression_parse_columns(const char *text)
{
	Source		source;
	ErrorContextCallback callback;
	CreateStmt *create;
	ParseState *pstate;
	List	   *columns = NIL;
	ListCell   *lc;

	source_begin(&source, &callback, "add", "CREATE TABLE x (", text, "\n)");
	create = (CreateStmt *) source_statement(&source);
	if (!IsA(create, CreateStmt) || create->inhRelations || create->options ||
		create->partspec || create->accessMethod || create->tableElts == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"add\" is not a list of column definitions"),
				 errhint("Write it as in CREATE TABLE: \"first_name text, last_name text\".")));
	pstate = source_parse_state(&source);

	foreach(lc, create->tableElts)
	{
		Node	   *element = lfirst(lc);
		ScopeColumn *column;

		if (!IsA(element, ColumnDef))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("argument \"add\" may hold column definitions only"),
					 errdetail("Table constraints and LIKE are not columns."),
					 errhint("Add the constraint with ALTER TABLE once the migration is complete."),
					 parser_errposition(pstate, exprLocation(element))));
		column = parse_column(pstate, (ColumnDef *) element);
		if (scope_find_in(columns, column->name) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" is added twice", column->name),
					 parser_errposition(pstate, ((ColumnDef *) element)->location)));
		columns = lappend(columns, column);
	}
	free_parsestate(pstate);
	source_end(&callback);
	return columns;
}
/* ---- defaults and constraints of new columns ---- */

static bool
is_assigned(List *assignments, const ScopeColumn *column)
{
	ListCell   *lc;

	foreach(lc, assignments)
		if (strcmp(((ParsedAssignment *) lfirst(lc))->target->name, column->name) == 0)
			return true;
	return false;
}

/* The default of a column, if rows that are there can have it as well; else NULL. */
static Expr *
check_default(ParseState *pstate, const ScopeColumn *column)
{
	Node	   *expr = cookDefault(pstate, copyObject(column->raw_default), column->type,
								   column->typmod, column->name, '\0');

	if (expr == NULL || contain_mutable_functions(expr))
		return NULL;
	return (Expr *) expr;
}

/* It speaks of the new form alone, or it would outlive what it names. */
static void
check_condition(ParseState *pstate, const Scope *scope, const Constraint *check)
{
	Scope		all = *scope;
	Node	   *expr;
	ListCell   *lc;

	all.inputs = NIL;
	all.part = "add";
	all.reads_added = true;
	scope_attach(pstate, &all);
	expr = transformExpr(pstate, copyObject(check->raw_expr), EXPR_KIND_CHECK_CONSTRAINT);
	(void) coerce_to_boolean(pstate, expr, "CHECK");
	scope_attach(pstate, NULL);
	foreach(lc, all.inputs)
		if (!migrate_scope_find(scope, lfirst(lc))->added)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("a CHECK in \"add\" names column \"%s\", which the migration does not add",
							(char *) lfirst(lc)),
					 errhint("Add that constraint with ALTER TABLE once the migration is complete."),
					 parser_errposition(pstate, check->location)));
}

/* Rows that are there have NULL in a column that nothing assigns. */
static void
check_not_null(const ScopeColumn *column, List *ups)
{
	if (is_assigned(ups, column))
		return;
	if (get_typtype(column->type) == TYPTYPE_DOMAIN)
		domain_check((Datum) 0, true, column->type, NULL, NULL);
	if (column->not_null)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("column \"%s\" of \"add\" is NOT NULL, but no row of the old form has a value for it",
						column->name),
				 errhint("Assign it in \"up\", or give it a constant default.")));
}

List *
migrate_expression_parse_constraints(Scope *scope, const char *text, List *columns, List *ups)
{
	Source		source;
	ErrorContextCallback callback;
	ParseState *pstate;
	ListCell   *lc;

	source_begin(&source, &callback, "add", "CREATE TABLE x (", text, "\n)");
	pstate = source_parse_state(&source);
	foreach(lc, columns)
	{
		ScopeColumn *column = lfirst(lc);
		Expr	   *expr = column->raw_default ? check_default(pstate, column) : NULL;
		ListCell   *check;

		if (expr != NULL && !is_assigned(ups, column))
		{
			ParsedAssignment *assignment = palloc(sizeof(ParsedAssignment));

			assignment->target = column;
			assignment->expr = expr;
			ups = lappend(ups, assignment);
		}
		check_not_null(column, ups);
		if (column->unique != NULL)
			(void) ResolveOpClass(NIL, column->type, "btree", BTREE_AM_OID);
		foreach(check, column->checks)
			check_condition(pstate, scope, lfirst_node(Constraint, check));
	}
	free_parsestate(pstate);
	source_end(&callback);
	return ups;
}
/* ---- types ---- */

char *
migrate_expression_type_text(Oid type, int32 typmod, Oid collation)
{
	char	   *text = format_type_extended(type, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	if (OidIsValid(collation) && collation != get_typcollation(type))
	{
		HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
		Form_pg_collation form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for collation %u", collation);
		form = (Form_pg_collation) GETSTRUCT(tuple);
		text = psprintf("%s COLLATE %s", text,
						quote_qualified_identifier(get_namespace_name(form->collnamespace),
												   NameStr(form->collname)));
		ReleaseSysCache(tuple);
	}
	return text;
}

void
migrate_expression_parse_type(const char *text, Oid *type, int32 *typmod, Oid *collation)
{
	List	   *columns = migrate_expression_parse_columns(psprintf("x %s", text));
	ScopeColumn *column = linitial(columns);

	*type = column->type;
	*typmod = column->typmod;
	*collation = column->collation;
}
