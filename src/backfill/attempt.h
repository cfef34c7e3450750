/*
 * backfill/attempt.h
 *		Moving the stale rows of a range although some of them fail.
 */
#ifndef MIGRATE_BACKFILL_ATTEMPT_H
#define MIGRATE_BACKFILL_ATTEMPT_H

#include "backfill/range.h"

/*
 * Convert what can be converted of a range, or of a first part of it
 * (result->next says which), and record the rows that cannot. Raises only
 * errors that are no row's fault.
 */
extern void migrate_attempt_range(const Range *range, RangeResult *result);

/*
 * Convert all rows of a range, but for those that others hold; or, where one
 * fails, none: it is then left to migrate_attempt_range(). Returns which.
 */
extern bool migrate_attempt_whole(const Range *range, RangeResult *result);

#endif							/* MIGRATE_BACKFILL_ATTEMPT_H */
