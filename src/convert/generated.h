/*
 * convert/generated.h
 *		Generated columns in what is computed from a row.
 */
#ifndef MIGRATE_CONVERT_GENERATED_H
#define MIGRATE_CONVERT_GENERATED_H

#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "utils/rel.h"

/* A generated column, and what it is computed from the row by. */
typedef struct GeneratedColumn
{
	AttrNumber	attno;
	Expr	   *expr;
} GeneratedColumn;

/* Compute the generated columns that a bound expression reads, instead of reading them. */
extern Expr *migrate_generated_compute(Expr *expr, Relation rel);

/* The attributes that one is generated from; none where it is not. */
extern Bitmapset *migrate_generated_inputs(Relation rel, AttrNumber attno);

/*
 * The generated columns (of GeneratedColumn *) that change when up assigns
 * columns, computed from the row as it was before: "ups" is a list of
 * Assignment *.
 */
extern List *migrate_generated_follow(Relation rel, List *ups);

#endif							/* MIGRATE_CONVERT_GENERATED_H */
