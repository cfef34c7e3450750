/*
 * read/relation_query.h
 *		A relation of a query, made a sub-query of its own.
 */
#ifndef MIGRATE_READ_RELATION_QUERY_H
#define MIGRATE_READ_RELATION_QUERY_H

#include "nodes/parsenodes.h"

#include "convert/conversion.h"

/* A range table entry for (SELECT everything FROM that one), in a query that only reads. */
extern RangeTblEntry *migrate_relation_query_make(const Query *query, int rtindex,
												  const Conversion *conversion);

/* Which of its columns stands for one of the relation's; 0 is the whole row. */
extern AttrNumber migrate_relation_query_column(const Conversion *conversion, AttrNumber attno);

#endif							/* MIGRATE_READ_RELATION_QUERY_H */
