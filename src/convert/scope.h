/*
 * convert/scope.h
 *		What the names in a definition stand for. See expression.h for Scope.
 */
#ifndef MIGRATE_CONVERT_SCOPE_H
#define MIGRATE_CONVERT_SCOPE_H

#include "parser/parse_node.h"

#include "convert/expression.h"

extern ScopeColumn *scope_find_in(List *columns, const char *name);

/*
 * Have the names in what is parsed from now on, also in sub-queries where they are
 * no column of those, be columns of the scope; NULL: no longer.
 */
extern void scope_attach(ParseState *pstate, Scope *scope);

#endif							/* MIGRATE_CONVERT_SCOPE_H */
