/*
 * lifecycle/ancestry.h
 *		Where a migration stands in the graph, and whether it may.
 */
#ifndef MIGRATE_LIFECYCLE_ANCESTRY_H
#define MIGRATE_LIFECYCLE_ANCESTRY_H

#include "catalog/migration.h"
#include "lifecycle/define.h"
#include "lifecycle/definition_check.h"

/*
 * Find what a new migration depends on: what it names, which must exist, or its
 * table's only leaf.
 */
extern void migrate_ancestry_resolve(Definition *definition);

/* Record what it has to do with which columns. */
extern void migrate_ancestry_record_footprint(const char *name, const ParsedDefinition *parsed,
											  List *removed);

/* Refuse a migration that does not commute with one beside it. */
extern void migrate_ancestry_check_branches(const char *name);

/*
 * A known migration, the same but for what it depends on: take that over, or
 * refuse it where history is another. False where there is nothing to change.
 */
extern bool migrate_ancestry_move(const Definition *definition, const Migration *known);

#endif							/* MIGRATE_LIFECYCLE_ANCESTRY_H */
