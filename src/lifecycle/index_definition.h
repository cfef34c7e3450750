/*
 * lifecycle/index_definition.h
 *		Declared indexes as they are recorded, and as statements.
 */
#ifndef MIGRATE_LIFECYCLE_INDEX_DEFINITION_H
#define MIGRATE_LIFECYCLE_INDEX_DEFINITION_H

#include "nodes/parsenodes.h"

/* A row of migrate.declared_index whose migration is expanded. */
typedef struct Declared
{
	char	   *name;
	char	   *migration;
	char	   *columns;
	bool		is_unique;
	bool		while_stale;
	bool		failed;
} Declared;

/* NULL where there is none. */
extern Declared *migrate_declared_load(Oid root, const char *name);
extern List *migrate_declared_load_all(Oid root);

/*
 * What the index on one of a table's heaps is called: the plain one, or the one
 * on what stale rows read as.
 */
extern char *migrate_declared_index_name(Oid root, Oid heap, const Declared *declared,
										 bool is_stale);

/*
 * CREATE INDEX CONCURRENTLY, transformed: on a heap or, without being run so, on a
 * partitioned table. "is_stale": on what columns read as, the tree that queries get.
 */
extern IndexStmt *migrate_declared_statement(Oid relid, const Declared *declared,
											 const char *name, bool is_stale);

/* Is an index what the statement makes? */
extern bool migrate_declared_is_made(Oid index, Oid relid, const IndexStmt *statement);

/* The columns' names as CREATE INDEX would join them for a name. */
extern char *migrate_declared_joined_columns(const IndexStmt *statement);

#endif							/* MIGRATE_LIFECYCLE_INDEX_DEFINITION_H */
