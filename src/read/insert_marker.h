/*
 * read/insert_marker.h
 *		Telling the write trigger which form an INSERT speaks.
 */
#ifndef MIGRATE_READ_INSERT_MARKER_H
#define MIGRATE_READ_INSERT_MARKER_H

#include "nodes/parsenodes.h"

#include "convert/conversion.h"

/* Does the query, at its own level, insert into the relation of that range table index? */
extern bool migrate_insert_marker_wanted(const Query *query, int rtindex);

/* Mark the INSERT, or the INSERT actions of a MERGE; changes target entries in place. */
extern void migrate_insert_marker_put(Query *query, const Conversion *conversion);

#endif							/* MIGRATE_READ_INSERT_MARKER_H */
