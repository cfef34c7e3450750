/*
 * read/release_check.c
 *		A pinned session uses only what its release knows.
 *
 * The statements of a client are looked at where they have been analyzed: views
 * are not expanded then, so what counts is what the client wrote. A column that
 * a migration adds which the release does not know, or removes which it knows,
 * is refused with its place in the statement. A prepared statement is analyzed again
 * after a change of the pin, which makes plans invalid, when it is next executed.
 *
 * Not looked at is the SQL of functions, triggers and rules: it belongs to the
 * database, which knows all forms, and not to the client. Nor are the columns that
 * "*" stands for, all of a table's in their order (a dump may list them): who
 * writes that takes what there is, and may go on to use it further out. And a column
 * that gets a new type under its name goes on to be used under it on the table
 * (published views show the release's own).
 *
 * Cost: one test for a session that is not pinned.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_node.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/rel.h"

#include "convert/conversion.h"
#include "convert/pin.h"
#include "read/release_check.h"

static post_parse_analyze_hook_type previous_post_parse_analyze = NULL;

typedef struct CheckContext
{
	ParseState *pstate;			/* for positions in the client's text, or NULL */
	List	   *queries;		/* of Query *, innermost first */
	List	   *of_stars;		/* of Var *: what "*" stands for */
} CheckContext;

/* ---- a column ---- */

static void
refuse(CheckContext *context, const Conversion *conversion, const LiveMigration *live,
	   AttrNumber attno, const char *does, int location)
{
	const char *release = migrate_pin_release();

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of relation \"%s\" is not known to release \"%s\"",
					NameStr(TupleDescAttr(conversion->tupdesc, attno - 1)->attname),
					get_rel_name(conversion->relid), release),
			 errdetail("Migration \"%s\", which that release %s, %s it.",
					   live->name, migrate_pin_knows(live->name) ? "has" : "lacks", does),
			 errhint("Use the columns of that release, or SET migrate.release to another one."),
			 parser_errposition(context->pstate, location)));
}

static void
check_column(CheckContext *context, Oid relid, AttrNumber attno, int location)
{
	Conversion *conversion = migrate_conversion_get(relid);

	if (conversion == NULL || attno <= 0 || !bms_is_member(attno, conversion->touched))
		return;
	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];
		bool		is_known = migrate_pin_knows(live->name);

		if (!is_known && bms_is_member(attno, live->added))
			refuse(context, conversion, live, attno, "adds", location);
		if (is_known && bms_is_member(attno, live->removed) &&
			!bms_is_member(attno, live->replaced))
			refuse(context, conversion, live, attno, "removes", location);
	}
}

/* ---- a query ---- */

static RangeTblEntry *
entry_of(CheckContext *context, const Var *var)
{
	Query	   *query;

	if (var->varlevelsup >= list_length(context->queries))
		return NULL;
	query = list_nth(context->queries, var->varlevelsup);
	if (var->varno <= 0 || var->varno > list_length(query->rtable))
		return NULL;
	return rt_fetch(var->varno, query->rtable);
}

static bool
is_column(const TargetEntry *target, int varno, AttrNumber attno)
{
	const Var  *var = (const Var *) target->expr;

	return IsA(var, Var) && var->varno == varno && var->varattno == attno;
}

/*
 * How many targets from here on are all columns of a table, in their order; 0 where they are
 * not. A dump of INSERTs leaves out generated columns, or has a NULL in their place.
 */
static int
count_star(TupleDesc desc, int varno, List *targets, int start)
{
	int			at = start;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		TargetEntry *target = at < list_length(targets) ?
			list_nth_node(TargetEntry, targets, at) : NULL;

		if (attr->attisdropped)
			continue;
		if (target != NULL &&
			(is_column(target, varno, i + 1) ||
			 (attr->attgenerated != '\0' && IsA(target->expr, Const))))
			at++;
		else if (attr->attgenerated == '\0')
			return 0;
	}
	return at - start;
}

/* How many columns "*" stands for if it begins here; 0 where it does not. */
static int
star_at(CheckContext *context, List *targets, int start)
{
	TargetEntry *first = list_nth_node(TargetEntry, targets, start);
	RangeTblEntry *rte;
	Relation	rel;
	int			count;

	if (!IsA(first->expr, Var))
		return 0;
	rte = entry_of(context, (Var *) first->expr);
	if (rte == NULL || rte->rtekind != RTE_RELATION)
		return 0;
	rel = table_open(rte->relid, NoLock);
	count = count_star(RelationGetDescr(rel), ((Var *) first->expr)->varno, targets, start);
	table_close(rel, NoLock);
	return count;
}

static void
note_stars(CheckContext *context, List *targets)
{
	int			n = 0;

	while (n < list_length(targets))
	{
		int			count = star_at(context, targets, n);

		for (int i = 0; i < count; i++)
			context->of_stars = lappend(context->of_stars,
										list_nth_node(TargetEntry, targets, n + i)->expr);
		n += Max(count, 1);
	}
}

/* Of EXCLUDED the parser lists all columns beforehand, named or not. */
static void
note_excluded(CheckContext *context, const OnConflictExpr *on_conflict)
{
	ListCell   *lc;

	foreach(lc, on_conflict->exclRelTlist)
		context->of_stars = lappend(context->of_stars, lfirst_node(TargetEntry, lc)->expr);
}

/* Of the names of a table's columns, those of dropped ones are empty. */
static int
count_columns(const RangeTblEntry *rte)
{
	int			count = 0;
	ListCell   *lc;

	foreach(lc, rte->eref->colnames)
		count += strVal(lfirst(lc))[0] != '\0';
	return count;
}

/* The columns that a statement assigns; where an INSERT names none, that is a "*" too. */
static void
check_assigned(CheckContext *context, const Query *query, List *targets)
{
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	ListCell   *lc;

	if (rte->rtekind != RTE_RELATION)
		return;
	if (query->commandType == CMD_INSERT &&
		list_length(targets) == count_columns(rte))
		return;
	foreach(lc, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);

		if (!target->resjunk)
			check_column(context, rte->relid, target->resno, exprLocation((Node *) target->expr));
	}
}

static void
check_assignments(CheckContext *context, const Query *query)
{
	ListCell   *lc;

	if (query->commandType == CMD_INSERT || query->commandType == CMD_UPDATE)
		check_assigned(context, query, query->targetList);
	if (query->onConflict)
		check_assigned(context, query, query->onConflict->onConflictSet);
	foreach(lc, query->mergeActionList)
		check_assigned(context, query, lfirst_node(MergeAction, lc)->targetList);
}

static bool
check_node(Node *node, CheckContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		RangeTblEntry *rte = entry_of(context, (Var *) node);

		if (rte != NULL && rte->rtekind == RTE_RELATION &&
			!list_member_ptr(context->of_stars, node))
			check_column(context, rte->relid, ((Var *) node)->varattno,
						 ((Var *) node)->location);
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		context->queries = lcons(query, context->queries);
		check_assignments(context, query);
		if (query->commandType == CMD_SELECT)
			note_stars(context, query->targetList);
		note_stars(context, query->returningList);
		if (query->onConflict)
			note_excluded(context, query->onConflict);
		(void) query_tree_walker(query, check_node, context, QTW_IGNORE_JOINALIASES);
		context->queries = list_delete_first(context->queries);
		return false;
	}
	return expression_tree_walker(node, check_node, context);
}

/* All columns but generated ones, as a dump lists them, are a "*". */
static bool
is_all_columns(Oid relid, List *names)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
		count += !TupleDescAttr(desc, i)->attisdropped &&
			TupleDescAttr(desc, i)->attgenerated == '\0';
	table_close(rel, NoLock);
	return list_length(names) == count;
}

/* COPY of a list of columns; of a query, the server has that analyzed. */
static void
check_copy(CheckContext *context, const CopyStmt *copy)
{
	Oid			relid;
	ListCell   *lc;

	if (copy->relation == NULL || copy->attlist == NIL)
		return;
	relid = RangeVarGetRelid(copy->relation, AccessShareLock, true);
	if (!OidIsValid(relid) || is_all_columns(relid, copy->attlist))
		return;					/* where it is missing, the command will say so */
	foreach(lc, copy->attlist)
		check_column(context, relid, get_attnum(relid, strVal(lfirst(lc))), -1);
}

/* The query that a utility statement holds and that was analyzed with it. */
static Node *
query_within(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_ExplainStmt:
			return ((ExplainStmt *) statement)->query;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) statement)->query;
		case T_DeclareCursorStmt:
			return ((DeclareCursorStmt *) statement)->query;
		default:
			return NULL;
	}
}

static void
check_statement(CheckContext *context, Query *query)
{
	Node	   *within;

	if (query->commandType != CMD_UTILITY)
		(void) check_node((Node *) query, context);
	else if (IsA(query->utilityStmt, CopyStmt))
		check_copy(context, (CopyStmt *) query->utilityStmt);
	else if ((within = query_within(query->utilityStmt)) != NULL && IsA(within, Query))
		check_statement(context, (Query *) within);
}

/* ---- whose statement it is ---- */

/* The text of what the client's EXECUTE that is running names; NULL where none is. */
static const char *
executed_text(void)
{
	PreparedStatement *prepared;
	Node	   *statement;

	if (!PortalIsValid(ActivePortal) || list_length(ActivePortal->stmts) != 1)
		return NULL;
	statement = linitial_node(PlannedStmt, ActivePortal->stmts)->utilityStmt;
	while (statement != NULL && !IsA(statement, ExecuteStmt))
	{
		statement = query_within(statement);
		statement = statement && IsA(statement, Query) ? ((Query *) statement)->utilityStmt : NULL;
	}
	if (statement == NULL)
		return NULL;
	prepared = FetchPreparedStatement(((ExecuteStmt *) statement)->name, false);
	return prepared ? prepared->plansource->query_string : NULL;
}

/* Did the client send it, and not a function of the database? The text is the very same then. */
static bool
is_of_client(const ParseState *pstate)
{
	return pstate->p_sourcetext != NULL &&
		(pstate->p_sourcetext == debug_query_string || pstate->p_sourcetext == executed_text());
}

static void
check_analyzed(ParseState *pstate, Query *query, JumbleState *jstate)
{
	if (previous_post_parse_analyze)
		previous_post_parse_analyze(pstate, query, jstate);
	if (migrate_pin_is_set() && is_of_client(pstate))
	{
		/* A position in what an EXECUTE names would be shown in the EXECUTE. */
		CheckContext context = {
			.pstate = pstate->p_sourcetext == debug_query_string ? pstate : NULL
		};

		check_statement(&context, query);
	}
}

void
migrate_release_check_init(void)
{
	previous_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = check_analyzed;
}
