/*
 * convert/forbidden.h
 *		What the expressions of a definition must not hold.
 */
#ifndef MIGRATE_CONVERT_FORBIDDEN_H
#define MIGRATE_CONVERT_FORBIDDEN_H

#include "parser/parse_node.h"

#include "convert/expression.h"

/* What a row is converted to is settled by more than the row. */
typedef enum Steadiness
{
	STEADY,
	STABLE_ONLY,				/* calls stable functions */
	READS_TABLES
} Steadiness;

/* Raises an error, with its position, where an analyzed expression cannot be had. */
extern Steadiness forbidden_check(ParseState *pstate, const Scope *scope, Node *expr);

#endif							/* MIGRATE_CONVERT_FORBIDDEN_H */
