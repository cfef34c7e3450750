/*
 * lifecycle/reference.h
 *		REFERENCES of new columns, as "add" gives them.
 */
#ifndef MIGRATE_LIFECYCLE_REFERENCE_H
#define MIGRATE_LIFECYCLE_REFERENCE_H

#include "catalog/migration.h"
#include "convert/expression.h"
#include "lifecycle/constraint.h"

/* Could a table have it, and may the caller refer to that other table? An error if not. */
extern void migrate_reference_check(Oid relid, const ScopeColumn *column);

/* For expand: the columns are there. Under the owner's identity and the definer's search_path. */
extern void migrate_reference_add(const Migration *migration, const ScopeColumn *column,
								  const char *column_label);

/* Before the table is locked: lock what its new columns are going to refer to. */
extern void migrate_reference_lock_others(const Migration *migration);

/* What dropping a migration's new form has to lock besides the table; appends TableLock *. */
extern List *migrate_reference_locks(const Migration *migration, List *locks);

/* The migration ends: what is left of them is the table's own. */
extern void migrate_reference_forget(const Migration *migration);

/* ---- lifecycle/reference_finish.c: towards plain foreign keys ---- */

/* Those that are checked by us (of AddedReference *). */
typedef struct AddedReference
{
	char	   *migration;
	char	   *name;
	char	   *column;
	Oid			referenced;
	char	   *referenced_column;
	char	   *options;
} AddedReference;

extern List *migrate_reference_load_checked(Oid root);

/* Which rows break it, as a condition on the table "r". */
extern char *migrate_reference_broken_condition(Oid root, const AddedReference *reference);

/* Make foreign keys of them, NOT VALID. What that locks besides the table, and doing it. */
extern List *migrate_reference_lock_referenced(List *references, List *locks);
extern void migrate_reference_make_plain(Oid root, List *references);

/* Validate one; CONSTRAINTS_STAND where all are. Sets *broken where rows break it. */
extern ConstraintStep migrate_reference_step(Oid root, AddedReference **broken);

#endif							/* MIGRATE_LIFECYCLE_REFERENCE_H */
