/*
 * catalog/heaps.h
 *		The tables that store a managed table's rows.
 */
#ifndef MIGRATE_CATALOG_HEAPS_H
#define MIGRATE_CATALOG_HEAPS_H

#include "nodes/pg_list.h"

/* The table itself, or the leaves of a partitioned one; foreign ones store nothing. No locks. */
extern List *migrate_heaps_of(Oid root);

#endif							/* MIGRATE_CATALOG_HEAPS_H */
