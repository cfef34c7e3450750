/*
 * write/supported.h
 *		Which row versions a managed table takes.
 */
#ifndef MIGRATE_WRITE_SUPPORTED_H
#define MIGRATE_WRITE_SUPPORTED_H

typedef struct SupportedVersions
{
	Oid			root;			/* the managed table */
	const char *column;			/* its row version column */
	int32		floor;			/* the oldest that can still be upgraded */
	int32		newest;
} SupportedVersions;

/*
 * Raises object_not_in_prerequisite_state for a row of another version, of the table
 * or a partition.
 */
extern void migrate_supported_check(const SupportedVersions *supported, Oid relid, int32 version);

extern Oid	migrate_supported_relation_of(const char *migration);

/* What a table, or the one that it is a partition of, takes; false if it is not managed. */
extern bool migrate_supported_load(Oid relid, SupportedVersions *supported);

#endif							/* MIGRATE_WRITE_SUPPORTED_H */
