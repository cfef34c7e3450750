/*
 * backfill/origin.h
 *		Marking what the backfill writes for logical decoding.
 */
#ifndef MIGRATE_BACKFILL_ORIGIN_H
#define MIGRATE_BACKFILL_ORIGIN_H

#include "replication/origin.h"

/* Mark what is written from here; returns what was marked before. */
extern RepOriginId migrate_origin_begin(void);
extern void migrate_origin_end(RepOriginId before);

#endif							/* MIGRATE_BACKFILL_ORIGIN_H */
