/*
 * convert/converter_private.h
 *		What a Converter's parts share among themselves.
 */
#ifndef MIGRATE_CONVERT_CONVERTER_PRIVATE_H
#define MIGRATE_CONVERT_CONVERTER_PRIVATE_H

#include "catalog/store.h"
#include "convert/converter.h"

/* Around all that evaluates: as the table's owner, unless every expression is harmless. */
extern void converter_restrict(const Conversion *conversion, StoreIdentity *self);
extern void converter_unrestrict(const Conversion *conversion, const StoreIdentity *self);

/* One assignment of a live migration, compiled as "state"; of its ups, or its downs. */
extern Datum converter_evaluate(Converter *converter, const LiveMigration *migration,
								const Assignment *assignment, ExprState *state,
								bool up, bool *isnull);

/* Raise an error where up of live migration i, applied to its own result, changes it. */
extern void round_trip_check_idempotence(Converter *converter, int i);

#endif							/* MIGRATE_CONVERT_CONVERTER_PRIVATE_H */
