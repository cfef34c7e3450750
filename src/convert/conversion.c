/*
 * convert/conversion.c
 *		What a stale row's columns read as.
 *
 * For a row of version r, column c has, at the level of the first k live
 * migrations, this value: let m be the newest of them whose up assigns c.
 * Where there is none, or r is at or above m's version, the stored value is
 * right; else it is m's up, over the values that the columns had one level
 * below m. Written as
 *
 *		CASE WHEN row_version >= v THEN c WHEN row_version < v THEN up END
 *
 * where "up" is, for a migration with a "needed",
 *
 *		CASE WHEN needed THEN up ELSE (the value one level below) END
 *
 * Both arms are spelled out: on the nullable side of an outer join row_version
 * is NULL and so must be the column, whatever up makes of a row of NULLs. That
 * is why no PlaceHolderVar is needed.
 *
 * Migrations before the first stale one are settled: no row can be met that they
 * would change, and their columns are read as stored.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/conversion_private.h"

typedef struct ReadingContext
{
	Conversion *conversion;
	int			first_stale;
	int			level;			/* inputs are read as of the first so many migrations */
} ReadingContext;

static Expr *value_at(Conversion *conversion, int first_stale, int level, AttrNumber attno);

static Var *
stored_column(const Conversion *conversion, AttrNumber attno)
{
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, attno - 1);

	return makeVar(1, attno, attr->atttypid, attr->atttypmod, attr->attcollation, 0);
}

static Assignment *
find_up(const LiveMigration *migration, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, migration->ups)
	{
		Assignment *up = lfirst(lc);

		if (up->target == attno)
			return up;
	}
	return NULL;
}

/* Replace what an expression reads by what that reads as, one level down. */
static Node *
read_inputs(Node *node, ReadingContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varattno > 0)
		return (Node *) value_at(context->conversion, context->first_stale,
								 context->level, ((Var *) node)->varattno);
	return expression_tree_mutator(node, read_inputs, context);
}

static Expr *
make_text_const(Oid type, int len, Datum value)
{
	return (Expr *) makeConst(type, -1, type == NAMEOID ? C_COLLATION_OID : DEFAULT_COLLATION_OID,
							  len, value, false, false);
}

/*
 * An up that must not run with the reader's rights, as a call of migrate.up(),
 * which runs it with the owner's. Its arguments name the assignment, then come
 * the values of the assignment's inputs by attribute number.
 */
static Expr *
make_restricted_call(const Conversion *conversion, const LiveMigration *migration,
					 const Assignment *up)
{
	static const Oid argtypes[] = {REGCLASSOID, TEXTOID, NAMEOID, ANYOID};
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, up->target - 1);
	Name		target = palloc0(sizeof(NameData));
	List	   *args;
	int			attno = -1;

	namestrcpy(target, NameStr(attr->attname));
	args = list_make3(makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
								ObjectIdGetDatum(conversion->relid), false, true),
					  make_text_const(TEXTOID, -1, CStringGetTextDatum(migration->name)),
					  make_text_const(NAMEOID, NAMEDATALEN, NameGetDatum(target)));
	while ((attno = bms_next_member(up->inputs, attno)) >= 0)
		args = lappend(args, stored_column(conversion, attno));
	/* VARIADIC "any" takes one at least; a column, lest planning evaluates the call. */
	if (up->inputs == NULL)
		args = lappend(args, stored_column(conversion, conversion->version_attno));

	return (Expr *) makeFuncExpr(migrate_store_function("up", lengthof(argtypes), argtypes),
								 attr->atttypid, args, attr->attcollation, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

static CaseWhen *
make_arm(const Conversion *conversion, Oid opno, Oid opfuncid, int32 version, Expr *result)
{
	CaseWhen   *arm = makeNode(CaseWhen);
	OpExpr	   *condition;

	condition = (OpExpr *)
		make_opclause(opno, BOOLOID, false,
					  (Expr *) stored_column(conversion, conversion->version_attno),
					  (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
										 Int32GetDatum(version), false, true),
					  InvalidOid, InvalidOid);
	condition->opfuncid = opfuncid;
	arm->expr = (Expr *) condition;
	arm->result = result;
	arm->location = -1;
	return arm;
}

static Expr *
make_reading(const Conversion *conversion, int32 version, AttrNumber attno, Expr *upgraded)
{
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, attno - 1);
	CaseExpr   *reading = makeNode(CaseExpr);

	/* The whole must have the column's typmod, or an index on it would not match. */
	if (exprTypmod((Node *) upgraded) != attr->atttypmod)
		upgraded = (Expr *) makeRelabelType(upgraded, attr->atttypid, attr->atttypmod,
											attr->attcollation, COERCE_IMPLICIT_CAST);
	reading->casetype = attr->atttypid;
	reading->casecollid = attr->attcollation;
	reading->args = list_make2(make_arm(conversion, get_negator(Int4LessOperator), F_INT4GE,
										version, (Expr *) stored_column(conversion, attno)),
							   make_arm(conversion, Int4LessOperator, F_INT4LT, version,
										upgraded));
	/* Spelled out as the parser would: the executor wants to see a default. */
	reading->defresult = (Expr *) makeNullConst(attr->atttypid, attr->atttypmod,
												attr->attcollation);
	reading->location = -1;
	return (Expr *) reading;
}

/* What a stale row has in a column: what up computes, where it is needed. */
static Expr *
where_needed(const Conversion *conversion, AttrNumber attno, Expr *needed,
			 Expr *upgraded, Expr *below)
{
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, attno - 1);
	CaseExpr   *choice = makeNode(CaseExpr);
	CaseWhen   *arm = makeNode(CaseWhen);

	arm->expr = needed;
	arm->result = upgraded;
	arm->location = -1;
	choice->casetype = attr->atttypid;
	choice->casecollid = attr->attcollation;
	choice->args = list_make1(arm);
	choice->defresult = below;
	choice->location = -1;
	return (Expr *) choice;
}

/* The value of a column at the level of the first "level" live migrations. */
static Expr *
value_at(Conversion *conversion, int first_stale, int level, AttrNumber attno)
{
	for (int i = level - 1; i >= first_stale; i--)
	{
		LiveMigration *migration = &conversion->live[i];
		Assignment *up = find_up(migration, attno);
		ReadingContext context = {conversion, first_stale, i};
		Expr	   *expr;

		if (up == NULL)
			continue;
		expr = up->inlinable ? up->expr : make_restricted_call(conversion, migration, up);
		expr = (Expr *) read_inputs((Node *) expr, &context);
		if (migration->needed != NULL)
			expr = where_needed(conversion, attno,
								(Expr *) read_inputs((Node *) migration->needed->expr, &context),
								expr, value_at(conversion, first_stale, i, attno));
		return make_reading(conversion, migration->version, attno, expr);
	}
	return (Expr *) stored_column(conversion, attno);
}

/* Compute the readings of all columns for one first stale migration. */
static Expr **
compute_readings(Conversion *conversion, int first_stale)
{
	MemoryContext old = MemoryContextSwitchTo(conversion->context);
	int			natts = conversion->tupdesc->natts;
	Expr	  **readings = palloc0(natts * sizeof(Expr *));

	for (int i = 0; i < natts; i++)
	{
		Expr	   *value;

		if (TupleDescAttr(conversion->tupdesc, i)->attisdropped)
			continue;
		value = value_at(conversion, first_stale, conversion->nlive, i + 1);
		if (!IsA(value, Var))
			readings[i] = value;
	}
	MemoryContextSwitchTo(old);
	return readings;
}

bool
migrate_conversion_may_defer(const LiveMigration *migration)
{
	return migration->defers && migration->proof_due;
}

int
migrate_conversion_first_incomplete(const Conversion *conversion)
{
	int			i = 0;

	while (i < conversion->nlive && conversion->live[i].complete)
		i++;
	return i;
}

const Expr *
migrate_conversion_reading(Conversion *conversion, int first_stale, AttrNumber attno)
{
	if (first_stale >= conversion->nlive || attno < 1)
		return NULL;
	if (conversion->reading[first_stale] == NULL)
		conversion->reading[first_stale] = compute_readings(conversion, first_stale);
	return conversion->reading[first_stale][attno - 1];
}
