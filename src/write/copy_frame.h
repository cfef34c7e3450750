/*
 * write/copy_frame.h
 *		Which columns the COPY FROM under way names.
 */
#ifndef MIGRATE_WRITE_COPY_FRAME_H
#define MIGRATE_WRITE_COPY_FRAME_H

#include "nodes/bitmapset.h"
#include "utils/rel.h"

extern void migrate_copy_frame_init(void);

/*
 * Is the row that is being inserted into a relation one of a COPY FROM? If so,
 * the attributes of that relation which the COPY names.
 */
extern bool migrate_copy_frame_find(Relation rel, const Bitmapset **columns);

#endif							/* MIGRATE_WRITE_COPY_FRAME_H */
