/*
 * guard/dependent_objects.h
 *		What else in the database uses some columns of a table.
 */
#ifndef MIGRATE_GUARD_DEPENDENT_OBJECTS_H
#define MIGRATE_GUARD_DEPENDENT_OBJECTS_H

#include "nodes/pg_list.h"

typedef struct DependentObject
{
	char	   *words;			/* its kind and name */
	char	   *remedy;			/* what to type to be rid of it */
} DependentObject;

/*
 * The objects (DependentObject *) that use any of the named columns of
 * a table or of its partitions, each once: views rather than their rules. What
 * belongs to a column itself, and what is ours, is left out; so are, unless
 * own_constraints, constraints of the table over no other columns than those, and
 * the constraint that is the proof, if it is named.
 */
extern List *migrate_objects_using(Oid relid, List *columns, bool own_constraints,
								   const char *proof);

/*
 * Functions whose bodies are texts in which the table and one of the columns are
 * named; NULL where there are none.
 */
extern char *migrate_objects_naming(Oid relid, List *columns);

#endif							/* MIGRATE_GUARD_DEPENDENT_OBJECTS_H */
