/*
 * convert/conversion_private.h
 *		What conversions, their cache and their evaluators share among themselves.
 */
#ifndef MIGRATE_CONVERT_CONVERSION_PRIVATE_H
#define MIGRATE_CONVERT_CONVERSION_PRIVATE_H

#include "convert/conversion.h"

/* Compile from the catalog; NULL where the relation has no live migration. */
extern Conversion *migrate_conversion_load(Oid relid);

/* What is live in the database, in short. */
typedef struct LiveSummary
{
	bool		any;
	bool		any_expanded;	/* and not complete */
	bool		any_deprecated;
	List	   *completed;		/* completed_xid, FullTransactionId *, of those that are */
} LiveSummary;

extern void migrate_conversion_load_summary(LiveSummary *summary);

#endif							/* MIGRATE_CONVERT_CONVERSION_PRIVATE_H */
