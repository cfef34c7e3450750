/*
 * backfill/archive.h
 *		Where rows go that are pruned: which of its columns takes which.
 */
#ifndef MIGRATE_BACKFILL_ARCHIVE_H
#define MIGRATE_BACKFILL_ARCHIVE_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "convert/conversion.h"

/* A column of the archive, and the one of the pruned heap that it takes. */
typedef struct ArchiveColumn
{
	char	   *name;
	AttrNumber	source;
	Oid			type;
} ArchiveColumn;

/*
 * What an archive takes (of ArchiveColumn *). Raises an error, which says why, where it
 * cannot be the archive of the table. The caller has locks on the heap, which is the
 * table itself or a partition, and the archive. "conversion" may be NULL;
 * "version_attno" is the heap's row version, or 0.
 */
extern List *migrate_archive_columns(Relation heap, Oid root, const Conversion *conversion,
									 AttrNumber version_attno, Oid archive);

#endif							/* MIGRATE_BACKFILL_ARCHIVE_H */
