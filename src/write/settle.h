/*
 * write/settle.h
 *		Bringing the forms in step again after the table's own triggers.
 */
#ifndef MIGRATE_WRITE_SETTLE_H
#define MIGRATE_WRITE_SETTLE_H

#include "commands/trigger.h"

#include "convert/conversion.h"

/* What our first trigger hands on to the others. */
extern void migrate_settle_remember(const TriggerData *trigger, const Conversion *conversion,
									HeapTuple row);

#endif							/* MIGRATE_WRITE_SETTLE_H */
