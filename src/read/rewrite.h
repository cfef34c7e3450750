/*
 * read/rewrite.h
 *		Making a query see every row as if it were already converted.
 */
#ifndef MIGRATE_READ_REWRITE_H
#define MIGRATE_READ_REWRITE_H

#include "nodes/parsenodes.h"

/* Has the query to be rewritten? Cheap where it has not. */
extern bool migrate_rewrite_concerns(Query *query);

/*
 * The query as it is to be planned; the one given is left as it is. Adds the
 * relations (OIDs) of which columns are computed where rows are stale.
 */
extern Query *migrate_rewrite_query(Query *query, List **computed);

#endif							/* MIGRATE_READ_REWRITE_H */
