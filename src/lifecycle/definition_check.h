/*
 * lifecycle/definition_check.h
 *		What a definition must be like.
 */
#ifndef MIGRATE_LIFECYCLE_DEFINITION_CHECK_H
#define MIGRATE_LIFECYCLE_DEFINITION_CHECK_H

#include "convert/expression.h"
#include "lifecycle/define.h"

typedef struct ParsedDefinition
{
	Scope		scope;
	List	   *added;			/* of ScopeColumn * */
	List	   *ups;			/* of ParsedAssignment * */
	List	   *downs;
	List	   *needed;			/* one, if any: see migrate_expression_parse_predicate() */
} ParsedDefinition;

/* Parse and check it. "known" is the same migration if it is recorded already. */
extern ParsedDefinition *migrate_definition_parse(Definition *definition, Migration *known);

#endif							/* MIGRATE_LIFECYCLE_DEFINITION_CHECK_H */
