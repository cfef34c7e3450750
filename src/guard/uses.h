/*
 * guard/uses.h
 *		What is known of the use of deprecated columns.
 */
#ifndef MIGRATE_GUARD_USES_H
#define MIGRATE_GUARD_USES_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef struct ColumnUse
{
	Oid			relation;		/* the managed table */
	char	   *column;
	bool		writes;
	char	   *role;			/* empty: there was no room to tell whose */
	char	   *application_name;
	TimestampTz first_used;
	TimestampTz last_used;
	int64		count;
} ColumnUse;

/*
 * All uses of columns of a table (InvalidOid: of any) as of now, whatever the
 * snapshot of the transaction; of ColumnUse *.
 */
extern List *migrate_uses_load(Oid relation);

#endif							/* MIGRATE_GUARD_USES_H */
