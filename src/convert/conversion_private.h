/*
 * convert/conversion_private.h
 *		What conversions, their cache and their evaluators share among themselves.
 */
#ifndef MIGRATE_CONVERT_CONVERSION_PRIVATE_H
#define MIGRATE_CONVERT_CONVERSION_PRIVATE_H

#include "convert/conversion.h"

/* Compile from the catalog; NULL where the relation has no live migration. */
extern Conversion *migrate_conversion_load(Oid relid);
extern bool migrate_conversion_load_any(void);

#endif							/* MIGRATE_CONVERT_CONVERSION_PRIVATE_H */
