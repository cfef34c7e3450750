/*
 * lifecycle/proof.h
 *		The constraint that proves that no row is left to convert.
 */
#ifndef MIGRATE_LIFECYCLE_PROOF_H
#define MIGRATE_LIFECYCLE_PROOF_H

#include "catalog/migration.h"

/*
 * The condition that expand puts into a migration's constraint, as SQL; and
 * below which version rows have to be moved whether they need it or not.
 */
extern char *migrate_proof_condition(const Migration *migration, const char *version_column,
									 int32 version, int32 *needed_from);

/* What all rows fulfil: that they are of a version which can be upgraded. */
extern char *migrate_proof_weak_condition(Oid relid, const char *version_column);

/*
 * Note what the server made of the constraint's text, to be compared with later.
 * "due": the condition, where it is yet to come in the place of another; or NULL.
 */
extern void migrate_proof_record(const Migration *migration, const char *version_column,
								 int32 version, int32 needed_from, const char *due);

#endif							/* MIGRATE_LIFECYCLE_PROOF_H */
