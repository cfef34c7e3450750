/*
 * convert/expression_parse.c
 *		A definition's text, taken apart and checked by the server's own parser.
 *
 * The text is put behind the beginning of a statement of which it is the rest
 * ("UPDATE x SET ..."), so that the server's grammar decides what it means.
 * Errors are reported against the text that the user gave, with a position in it.
 *
 * The columns are looked up in a Scope, not in a relation, since those that the
 * migration adds do not exist yet.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/heap.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "convert/expression.h"

/* The text under the parser's eye. */
typedef struct Source
{
	const char *part;			/* which argument it is */
	const char *text;			/* as the user gave it */
	char	   *statement;		/* prefix and text */
	int			prefix_length;	/* in characters: the prefixes are ASCII */
} Source;

/* ---- where an error is ---- */

/* Turn a position in the statement into one in the user's text. */
static void
source_error_callback(void *arg)
{
	Source	   *source = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - source->prefix_length, 1));
		internalerrquery(source->text);
	}
	errcontext("argument \"%s\"", source->part);
}

static void
source_begin(Source *source, ErrorContextCallback *callback, const char *part,
			 const char *prefix, const char *text, const char *suffix)
{
	source->part = part;
	source->text = text;
	source->statement = psprintf("%s%s%s", prefix, text, suffix);
	source->prefix_length = strlen(prefix);

	callback->callback = source_error_callback;
	callback->arg = source;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

static void
source_end(ErrorContextCallback *callback)
{
	error_context_stack = callback->previous;
}

/* The one statement that the text makes; more than one is a smuggled semicolon. */
static Node *
source_statement(Source *source)
{
	List	   *statements = raw_parser(source->statement, RAW_PARSE_DEFAULT);

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" holds more than one statement", source->part)));
	return linitial_node(RawStmt, statements)->stmt;
}

static ParseState *
source_parse_state(const Source *source)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source->statement;
	return pstate;
}

/* ---- columns ---- */

static ScopeColumn *
find_column(List *columns, const char *name)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		ScopeColumn *column = lfirst(lc);

		if (strcmp(column->name, name) == 0)
			return column;
	}
	return NULL;
}

ScopeColumn *
migrate_scope_find(const Scope *scope, const char *name)
{
	return find_column(scope->columns, name);
}

ScopeColumn *
migrate_scope_find_new(const Scope *scope, const char *name)
{
	ListCell   *lc;

	foreach(lc, scope->columns)
	{
		ScopeColumn *column = lfirst(lc);

		if (column->rename_to != NULL && strcmp(column->rename_to, name) == 0)
			return column;
	}
	return NULL;
}

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
				column->not_null = true;
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
		if (find_column(columns, column->name) != NULL)
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

/* ---- assignments ---- */

/* Where in the list of inputs a name stands, counted from 1; it is put there if new. */
static AttrNumber
input_position(Scope *scope, const char *name)
{
	ListCell   *lc;
	AttrNumber	position = 0;

	foreach(lc, scope->inputs)
	{
		position++;
		if (strcmp(lfirst(lc), name) == 0)
			return position;
	}
	scope->inputs = lappend(scope->inputs, pstrdup(name));
	return position + 1;
}

/*
 * What a name stands for that two columns have, an old one and one that takes
 * its place. Where both could be meant, old or new must be said.
 */
static ScopeColumn *
resolve_twin(ParseState *pstate, ColumnRef *cref, const char *qualifier,
			 ScopeColumn *old, ScopeColumn *new)
{
	Scope	   *scope = pstate->p_ref_hook_state;

	if ((qualifier != NULL && strcmp(qualifier, "new") == 0) ||
		(qualifier == NULL && strcmp(scope->part, "add") == 0))
		return new;
	if ((qualifier != NULL && strcmp(qualifier, "old") == 0) || !scope->reads_added)
		return old;
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_COLUMN),
			 errmsg("column reference \"%s\" is ambiguous", new->rename_to),
			 errdetail("The migration adds a column in the place of the one that is there."),
			 errhint("Write old.%s or new.%s.", quote_identifier(new->rename_to),
					 quote_identifier(new->rename_to)),
			 parser_errposition(pstate, cref->location)));
}

/*
 * Parser hook: a name in an expression is a column of the scope, bare or
 * behind the relation's name, or behind old or new where it is two columns'.
 * NULL lets the parser report it as unknown.
 */
static Node *
resolve_column(ParseState *pstate, ColumnRef *cref, Node *found)
{
	Scope	   *scope = pstate->p_ref_hook_state;
	Node	   *last = llast(cref->fields);
	const char *qualifier = NULL;
	ScopeColumn *column;
	ScopeColumn *new;
	Var		   *var;

	if (found != NULL || list_length(cref->fields) > 2 || !IsA(last, String))
		return NULL;
	if (list_length(cref->fields) == 2)
		qualifier = strVal(linitial(cref->fields));
	column = migrate_scope_find(scope, strVal(last));
	new = migrate_scope_find_new(scope, strVal(last));
	if (new != NULL)
		column = resolve_twin(pstate, cref, qualifier, column, new);
	else if (column == NULL ||
			 (qualifier != NULL && strcmp(qualifier, scope->relation_name) != 0))
		return NULL;
	if (column->added && !scope->reads_added)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("\"%s\" reads column \"%s\", which the migration adds",
						scope->part, column->rename_to ? column->rename_to : column->name),
				 errdetail("The new columns have no value before \"up\" computes it from the old ones."),
				 column->rename_to ? errhint("Read old.%s.", quote_identifier(column->rename_to)) :
				 errhint("Repeat the expression that computes \"%s\".", column->name),
				 parser_errposition(pstate, cref->location)));

	var = makeVar(1, input_position(scope, column->name), column->type,
				  column->typmod, column->collation, 0);
	var->location = cref->location;
	return (Node *) var;
}

/* Reports on what an expression must not hold. */
typedef struct ForbiddenContext
{
	ParseState *pstate;
	const char *part;
	bool		stable;			/* met a function that is not immutable */
} ForbiddenContext;

static bool
note_volatility(Oid funcid, void *context)
{
	char		volatility = func_volatile(funcid);

	if (volatility == PROVOLATILE_STABLE)
		((ForbiddenContext *) context)->stable = true;
	return volatility == PROVOLATILE_VOLATILE;
}

static bool
refuse_forbidden(Node *node, ForbiddenContext *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, note_volatility, context))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" calls a volatile function", context->part),
				 errdetail("A row that is read twice would be converted to two different values."),
				 errhint("Use immutable functions of the row's own columns."),
				 parser_errposition(context->pstate, exprLocation(node))));
	if (IsA(node, NextValueExpr))
		elog(ERROR, "unexpected NextValueExpr in a parsed expression");
	if (IsA(node, SQLValueFunction))
		context->stable = true;
	if (IsA(node, SubLink))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"%s\" holds a subquery", context->part),
				 errdetail("A conversion may use the columns of its own row only."),
				 errhint("Put the value into the table first, or call an immutable function."),
				 parser_errposition(context->pstate, exprLocation(node))));
	return expression_tree_walker(node, refuse_forbidden, context);
}

/* The value of one assignment, as the column's type, in stored form. */
static Expr *
parse_value(ParseState *pstate, const char *part, const ScopeColumn *target,
			ResTarget *assignment)
{
	ForbiddenContext forbidden = {pstate, part, false};
	Node	   *expr;
	Oid			type;

	if (IsA(assignment->val, SetToDefault) || IsA(assignment->val, MultiAssignRef))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" must be assigned one expression", target->name),
				 errhint("Write \"column = expression\" for each column."),
				 parser_errposition(pstate, assignment->location)));

	expr = transformExpr(pstate, assignment->val, EXPR_KIND_UPDATE_SOURCE);
	type = exprType(expr);
	expr = coerce_to_target_type(pstate, expr, type, target->type, target->typmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s but the expression in \"%s\" is of type %s",
						target->name, format_type_be(target->type), part,
						format_type_be(type)),
				 errhint("Rewrite or cast the expression."),
				 parser_errposition(pstate, exprLocation(assignment->val))));
	assign_expr_collations(pstate, expr);
	(void) refuse_forbidden(expr, &forbidden);
	if (forbidden.stable)
		ereport(NOTICE,
				(errmsg("argument \"%s\" calls a function that is not immutable", part),
				 errdetail("Column \"%s\" of a row that is not converted yet may read "
						   "differently from one statement to the next.", target->name)));
	return (Expr *) expr;
}

/*
 * May this part assign that column? The old form is down's; the new form, and
 * what is rewritten in place, is up's.
 */
static void
check_target(ParseState *pstate, const char *part, const ScopeColumn *column,
			 ResTarget *assignment)
{
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" does not exist", assignment->name),
				 errdetail("\"%s\" assigns a column that the table does not have and \"add\" does not name.", part),
				 parser_errposition(pstate, assignment->location)));
	if (assignment->indirection != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" assigns a part of column \"%s\"", part, assignment->name),
				 errhint("Assign the whole column."),
				 parser_errposition(pstate, assignment->location)));
	if (column->generated)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("\"%s\" assigns column \"%s\", which is generated", part, column->name),
				 errhint("Assign the columns that it is generated from."),
				 parser_errposition(pstate, assignment->location)));
	if (strcmp(part, "down") == 0 && column->added)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("\"down\" assigns column \"%s\", which the migration adds", column->name),
				 errdetail("\"down\" computes the old form: columns that the table has already."),
				 errhint("Assign it in \"up\"."),
				 parser_errposition(pstate, assignment->location)));
}

List *
migrate_expression_parse_assignments(Scope *scope, const char *part, const char *text)
{
	Source		source;
	ErrorContextCallback callback;
	UpdateStmt *update;
	ParseState *pstate;
	List	   *result = NIL;
	List	   *targets = NIL;
	ListCell   *lc;

	source_begin(&source, &callback, part, "UPDATE x SET ", text, "");
	update = (UpdateStmt *) source_statement(&source);
	if (!IsA(update, UpdateStmt) || update->whereClause || update->fromClause ||
		compat_returning(update) != NULL || update->withClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" is not a list of assignments", part),
				 errdetail("FROM, WHERE and RETURNING have no meaning here."),
				 errhint("Write it as after UPDATE ... SET: \"a = b, c = d\".")));
	pstate = source_parse_state(&source);
	pstate->p_post_columnref_hook = resolve_column;
	pstate->p_ref_hook_state = scope;
	scope->part = part;
	scope->reads_added = strcmp(part, "down") == 0;

	foreach(lc, update->targetList)
	{
		ResTarget  *assignment = lfirst_node(ResTarget, lc);
		ParsedAssignment *parsed = palloc(sizeof(ParsedAssignment));
		ScopeColumn *target = scope->reads_added ? NULL
			: migrate_scope_find_new(scope, assignment->name);

		if (target == NULL)
			target = migrate_scope_find(scope, assignment->name);
		check_target(pstate, part, target, assignment);
		if (find_column(targets, target->name) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("\"%s\" assigns column \"%s\" twice", part, target->name),
					 parser_errposition(pstate, assignment->location)));
		targets = lappend(targets, target);
		parsed->target = target;
		parsed->expr = parse_value(pstate, part, target, assignment);
		result = lappend(result, parsed);
	}
	free_parsestate(pstate);
	source_end(&callback);
	return result;
}

/* ---- predicates ---- */

/*
 * What is in a predicate becomes part of a constraint, which anybody's write
 * may check, and tells readers what a row reads as.
 */
static void
refuse_untrusted(ParseState *pstate, const char *part, Node *expr)
{
	ForbiddenContext forbidden = {pstate, part, false};

	(void) refuse_forbidden(expr, &forbidden);
	if (!migrate_expression_is_inlinable(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" calls what is not both immutable and built in", part),
				 errdetail("It becomes part of a constraint, and that is checked with the rights of whoever writes."),
				 errhint("Use built-in immutable functions and operators of the row's own columns."),
				 parser_errposition(pstate, exprLocation(expr))));
}

List *
migrate_expression_parse_predicate(Scope *scope, const char *part, const char *text)
{
	Source		source;
	ErrorContextCallback callback;
	SelectStmt *select;
	ParseState *pstate;
	ParsedAssignment *predicate = palloc0(sizeof(ParsedAssignment));
	ScopeColumn *target = palloc0(sizeof(ScopeColumn));
	Node	   *expr;

	source_begin(&source, &callback, part, "SELECT WHERE ", text, "");
	select = (SelectStmt *) source_statement(&source);
	if (!IsA(select, SelectStmt) || select->op != SETOP_NONE || select->whereClause == NULL ||
		select->groupClause || select->havingClause || select->windowClause ||
		select->sortClause || select->limitCount || select->limitOffset || select->lockingClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" is not a condition", part),
				 errhint("Write it as after WHERE: \"a IS NOT NULL AND b > 0\".")));
	pstate = source_parse_state(&source);
	pstate->p_post_columnref_hook = resolve_column;
	pstate->p_ref_hook_state = scope;
	scope->part = part;
	scope->reads_added = false;

	expr = transformExpr(pstate, select->whereClause, EXPR_KIND_CHECK_CONSTRAINT);
	expr = coerce_to_boolean(pstate, expr, part);
	assign_expr_collations(pstate, expr);
	refuse_untrusted(pstate, part, expr);
	target->name = "";
	target->type = BOOLOID;
	target->typmod = -1;
	predicate->target = target;
	predicate->expr = (Expr *) expr;
	free_parsestate(pstate);
	source_end(&callback);
	return list_make1(predicate);
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
	pstate->p_post_columnref_hook = resolve_column;
	pstate->p_ref_hook_state = &all;
	expr = transformExpr(pstate, copyObject(check->raw_expr), EXPR_KIND_CHECK_CONSTRAINT);
	(void) coerce_to_boolean(pstate, expr, "CHECK");
	pstate->p_post_columnref_hook = NULL;
	foreach(lc, all.inputs)
		if (!migrate_scope_find(scope, lfirst(lc))->added)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("a CHECK in \"add\" names column \"%s\", which the migration does not add",
							(char *) lfirst(lc)),
					 errhint("Add that constraint with ALTER TABLE once the migration is complete."),
					 parser_errposition(pstate, check->location)));
}

static void
check_not_null(const ScopeColumn *column, List *ups)
{
	if (column->not_null && !is_assigned(ups, column))
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
