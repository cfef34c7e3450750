/*
 * convert/live_migration.h
 *		Compiling one live migration from the catalog, for one relation.
 */
#ifndef MIGRATE_CONVERT_LIVE_MIGRATION_H
#define MIGRATE_CONVERT_LIVE_MIGRATION_H

#include "utils/relcache.h"

#include "convert/conversion.h"
#include "convert/rows.h"

/*
 * What expressions are bound to: the columns of a relation, or those that it
 * would have.
 */
typedef struct Shape
{
	Relation	rel;
	TupleDesc	desc;			/* begins with the relation's own columns */
	Oid			root;			/* the managed table */
	Oid			owner;			/* its owner */
} Shape;

/* The number of a column that a live migration uses; an error where it is not there. */
extern AttrNumber live_migration_column(const Shape *shape, const char *name);

/* From the present row of migrate.migration. */
extern void live_migration_load(const Shape *shape, Rows *rows, LiveMigration *migration);

extern bool live_migration_is_complete(const char *state);

#endif							/* MIGRATE_CONVERT_LIVE_MIGRATION_H */
