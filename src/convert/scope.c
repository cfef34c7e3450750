/*
 * convert/scope.c
 *		What the names in a definition stand for.
 *
 * The columns are looked up in a Scope, not in a relation, since those that the
 * migration adds do not exist yet.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "utils/builtins.h"

#include "convert/scope.h"

ScopeColumn *
scope_find_in(List *columns, const char *name)
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

/* Of columns that are expected there may be a thousand, of which few are named. */
static void
look_up_type(ScopeColumn *column)
{
	migrate_expression_parse_type(column->type_text, &column->type, &column->typmod,
								  &column->collation);
	column->type_text = NULL;
}

ScopeColumn *
migrate_scope_find(const Scope *scope, const char *name)
{
	ScopeColumn *column = scope_find_in(scope->columns, name);

	if (column != NULL && column->type_text != NULL)
		look_up_type(column);
	return column;
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

/* ---- in an expression ---- */

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

/* May a column be called by that, besides its name? */
static bool
is_qualifier(const Scope *scope, const char *qualifier, bool has_twin)
{
	return qualifier == NULL || strcmp(qualifier, scope->relation_name) == 0 ||
		(has_twin && (strcmp(qualifier, "old") == 0 || strcmp(qualifier, "new") == 0));
}

/* How many queries stand between the name and the row. */
static Index
depth(const ParseState *pstate)
{
	Index		levels = 0;

	while ((pstate = pstate->parentParseState) != NULL)
		levels++;
	return levels;
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
	if (column == NULL || !is_qualifier(scope, qualifier, new != NULL))
		return NULL;
	if (new != NULL)
		column = resolve_twin(pstate, cref, qualifier, column, new);
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
				  column->typmod, column->collation, depth(pstate));
	var->location = cref->location;
	return (Node *) var;
}

/*
 * The parser asks the range table where a column comes from that a sub-query
 * returns. The row is not from any: an entry that says nothing.
 */
static void
add_row_entry(ParseState *pstate)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RESULT;
	rte->eref = makeAlias("", NIL);
	pstate->p_rtable = list_make1(rte);
}

void
scope_attach(ParseState *pstate, Scope *scope)
{
	if (pstate->p_rtable == NIL)
		add_row_entry(pstate);
	pstate->p_post_columnref_hook = scope ? resolve_column : NULL;
	pstate->p_ref_hook_state = scope;
}
