/*
 * lifecycle/constraint.h
 *		Constraints on new columns, as "add" gives them.
 */
#ifndef MIGRATE_LIFECYCLE_CONSTRAINT_H
#define MIGRATE_LIFECYCLE_CONSTRAINT_H

#include "catalog/migration.h"

/* The columns are there: give them their defaults and constraints. For expand. */
extern void migrate_constraint_add(const Migration *migration);

/* The migration ends: what is left of its constraints is the table's own. */
extern void migrate_constraint_forget(const char *migration);

typedef enum ConstraintStep
{
	CONSTRAINTS_STAND,			/* all are what they are to be */
	CONSTRAINTS_WORKED,			/* one has got further */
	CONSTRAINTS_BROKEN,			/* rows break one: see migrate.failures */
	CONSTRAINTS_BLOCKED			/* others hold a lock that it takes */
} ConstraintStep;

/* All rows are converted: bring the constraints of a table further. */
extern ConstraintStep migrate_constraint_step(Oid root);

/* The locks (of TableLock *) that its steps take. */
extern List *migrate_constraint_locks(Oid root);

#endif							/* MIGRATE_LIFECYCLE_CONSTRAINT_H */
