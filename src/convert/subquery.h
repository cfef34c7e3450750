/*
 * convert/subquery.h
 *		Expressions that hold sub-queries: run as a query of their own.
 */
#ifndef MIGRATE_CONVERT_SUBQUERY_H
#define MIGRATE_CONVERT_SUBQUERY_H

#include "executor/tuptable.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

typedef struct Subquery Subquery;

/*
 * The expression as a SELECT of it alone, with parameters in the place of the
 * row's columns, numbered as these. A copy; what it reads is locked.
 */
extern Query *subquery_make_query(const Expr *expr);

/* Lock what the sub-queries of an expression read, if it has any, against changes. */
extern void subquery_lock(const Expr *expr);

/*
 * Ready to run for rows: in the current memory context, whose end frees it. The
 * expression and "column", its SQL name to be shown in messages, are to live as long.
 */
extern Subquery *subquery_make(const Expr *expr, const char *column);

/* The value for a row, under the active snapshot; in the current memory context. */
extern Datum subquery_evaluate(Subquery *subquery, TupleTableSlot *row, bool *isnull);

#endif							/* MIGRATE_CONVERT_SUBQUERY_H */
