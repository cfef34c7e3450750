/*
 * read/up_function.c
 *		migrate.up(): a column of a stale row, computed as the table's owner.
 *
 * Purpose: an "up" that calls anything but immutable built-in functions must
 * not run with the rights of whoever reads the table. In a query it is replaced
 * by a call of this function with the values that it reads (convert/ makes the
 * call), and is evaluated here, on a row made of those, by an evaluator that
 * takes on the owner's rights in a security-restricted operation.
 *
 * Who may call: rewritten queries alone. Whoever could pass values of his own
 * choice would ask the owner's functions and sub-queries things that no row of
 * the table asks. A call that a person wrote has the result type that the
 * function is declared with, "any"; one that convert/ made has the column's,
 * which no SQL can bring about. Past that test the arguments are still compared
 * with what the assignment reads: a plan may be older than the conversion.
 *
 * States: which assignment is called is looked up once per conversion and
 * plan node, and again in each transaction, since conversions do not outlive them.
 *
 * Locks: the query that calls has locked the relation.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "convert/converter.h"

#define LEADING_ARGS	3		/* relation, migration, target */

/* A call site: what it asks for, and where in the conversion that is. */
typedef struct UpCall
{
	Oid			relid;
	char	   *migration;
	char	   *target;

	/* found anew when the conversion is another one */
	const Conversion *conversion;
	LocalTransactionId transaction; /* in which the pointer above is good */
	int			live;			/* index of the migration */
	int			nth;			/* index of the assignment in its ups */
	const Assignment *assignment;
} UpCall;

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_up);

static const char *
relation_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name ? name : psprintf("%u", relid);
}

/* A leading argument is a constant, and not null, in the calls that we make. */
static Datum
leading_argument(const FuncExpr *expr, int n, Oid type)
{
	const Const *arg = list_nth(expr->args, n);

	if (!IsA(arg, Const) || arg->consttype != type || arg->constisnull)
		elog(ERROR, "unexpected argument %d of function migrate.up", n + 1);
	return arg->constvalue;
}

static UpCall *
make_call(FmgrInfo *flinfo)
{
	const FuncExpr *expr = (const FuncExpr *) flinfo->fn_expr;
	UpCall	   *call;

	if (expr == NULL || !IsA(expr, FuncExpr) || expr->funcresulttype == ANYOID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function \"migrate.up\" cannot be called directly"),
				 errdetail("It computes columns of stale rows, with the rights of the table's owner, in queries that name such columns."),
				 errhint("Select the column from the table instead.")));

	call = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(UpCall));
	call->relid = DatumGetObjectId(leading_argument(expr, 0, REGCLASSOID));
	call->migration = MemoryContextStrdup(flinfo->fn_mcxt,
										  TextDatumGetCString(leading_argument(expr, 1, TEXTOID)));
	call->target = MemoryContextStrdup(flinfo->fn_mcxt,
									   NameStr(*DatumGetName(leading_argument(expr, 2, NAMEOID))));
	return call;
}

static int
find_migration(const Conversion *conversion, const char *name)
{
	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
	{
		if (strcmp(conversion->live[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* The assignment to a column of that name; its index, or -1. */
static int
find_assignment(const Conversion *conversion, int live, const char *target)
{
	ListCell   *lc;

	foreach(lc, conversion->live[live].ups)
	{
		AttrNumber	attno = ((Assignment *) lfirst(lc))->target;

		if (strcmp(NameStr(TupleDescAttr(conversion->tupdesc, attno - 1)->attname), target) == 0)
			return foreach_current_index(lc);
	}
	return -1;
}

/* Has the call the arguments and the result that the assignment has? */
static void
check_types(FmgrInfo *flinfo, int nargs, const UpCall *call)
{
	TupleDesc	tupdesc = call->conversion->tupdesc;
	const Assignment *assignment = call->assignment;
	Oid			result = TupleDescAttr(tupdesc, assignment->target - 1)->atttypid;
	bool		matches;
	int			attno = -1;
	int			n = LEADING_ARGS;

	matches = get_fn_expr_rettype(flinfo) == result &&
		nargs == LEADING_ARGS + Max(bms_num_members(assignment->inputs), 1);
	while (matches && (attno = bms_next_member(assignment->inputs, attno)) >= 0)
		matches = get_fn_expr_argtype(flinfo, n++) == TupleDescAttr(tupdesc, attno - 1)->atttypid;

	if (!matches)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a query passes values of other types to migration \"%s\" than its \"up\" reads",
						call->migration),
				 errdetail("It was planned for another definition of column \"%s\" of table \"%s\".",
						   call->target, relation_name(call->relid)),
				 errhint("Run it again.")));
}

static void
resolve_call(FmgrInfo *flinfo, int nargs, UpCall *call, const Conversion *conversion)
{
	call->conversion = NULL;
	call->live = find_migration(conversion, call->migration);
	if (call->live >= 0)
		call->nth = find_assignment(conversion, call->live, call->target);
	if (call->live < 0 || call->nth < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no live migration \"%s\" computes column \"%s\" of table \"%s\"",
						call->migration, call->target, relation_name(call->relid)),
				 errdetail("The query was planned when it did."),
				 errhint("Run it again.")));

	call->conversion = conversion;
	call->assignment = list_nth(conversion->live[call->live].ups, call->nth);
	check_types(flinfo, nargs, call);
	call->transaction = compat_my_lxid();
}

/* A row that has the values given where the assignment reads, and NULLs elsewhere. */
static void
fill_row(Converter *converter, const UpCall *call, FunctionCallInfo fcinfo)
{
	TupleTableSlot *slot = migrate_converter_start(converter);
	int			attno = -1;
	int			n = LEADING_ARGS;

	while ((attno = bms_next_member(call->assignment->inputs, attno)) >= 0)
	{
		slot->tts_values[attno - 1] = PG_GETARG_DATUM(n);
		slot->tts_isnull[attno - 1] = PG_ARGISNULL(n);
		n++;
	}
}

/* The evaluator's memory does not outlive the row, nor the function the query. */
static Datum
copy_result(const UpCall *call, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(call->conversion->tupdesc,
										  call->assignment->target - 1);

	return datumCopy(value, att->attbyval, att->attlen);
}

Datum
migrate_up(PG_FUNCTION_ARGS)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	UpCall	   *call;
	Conversion *conversion;
	Converter  *converter;
	Datum		value;
	bool		isnull;

	if (flinfo->fn_extra == NULL)
		flinfo->fn_extra = make_call(flinfo);
	call = flinfo->fn_extra;

	conversion = migrate_conversion_get(call->relid);
	if (conversion != call->conversion || conversion == NULL ||
		call->transaction != compat_my_lxid())
		resolve_call(flinfo, PG_NARGS(), call, conversion);

	converter = migrate_converter_acquire(conversion);
	fill_row(converter, call, fcinfo);
	value = migrate_converter_evaluate(converter, call->live, true, call->nth, &isnull);
	if (!isnull)
		value = copy_result(call, value);
	migrate_converter_release(converter);

	if (isnull)
		PG_RETURN_NULL();
	return value;
}
