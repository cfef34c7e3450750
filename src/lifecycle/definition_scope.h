/*
 * lifecycle/definition_scope.h
 *		Which columns the texts of a definition may name.
 */
#ifndef MIGRATE_LIFECYCLE_DEFINITION_SCOPE_H
#define MIGRATE_LIFECYCLE_DEFINITION_SCOPE_H

#include "utils/relcache.h"

#include "convert/expression.h"
#include "lifecycle/define.h"

/*
 * The columns of "add" become part of it, and get the names that they go by. "known" is
 * the same migration if it is recorded already.
 */
extern void migrate_definition_fill_scope(Scope *scope, Relation rel, const Definition *definition,
										  List *added, const Migration *known);

#endif							/* MIGRATE_LIFECYCLE_DEFINITION_SCOPE_H */
