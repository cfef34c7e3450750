/*
 * guard/own_statistics.h
 *		Which statistics objects are ours.
 */
#ifndef MIGRATE_GUARD_OWN_STATISTICS_H
#define MIGRATE_GUARD_OWN_STATISTICS_H

#include "nodes/primnodes.h"

/* What an object of ours is on, what a column reads as; NULL: it is not ours. */
extern Expr *migrate_own_statistics_reading(Oid statistics);

#endif							/* MIGRATE_GUARD_OWN_STATISTICS_H */
