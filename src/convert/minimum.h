/*
 * convert/minimum.h
 *		Which live migrations a release that is in support lacks.
 */
#ifndef MIGRATE_CONVERT_MINIMUM_H
#define MIGRATE_CONVERT_MINIMUM_H

#include "convert/conversion.h"

/* Note in a Conversion that is being compiled by whom its live migrations are lacked. */
extern void migrate_minimum_note(Conversion *conversion);

/* The managed tables (OIDs) with a live migration that is not among these names (char *). */
extern List *migrate_minimum_tables(List *known);

#endif							/* MIGRATE_CONVERT_MINIMUM_H */
