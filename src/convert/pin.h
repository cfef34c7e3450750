/*
 * convert/pin.h
 *		Which release the session is pinned to, and what that knows.
 */
#ifndef MIGRATE_CONVERT_PIN_H
#define MIGRATE_CONVERT_PIN_H

#include "convert/conversion.h"

extern void migrate_pin_init(void);

/* Is the session pinned, in a database with releases? Cheap. */
extern bool migrate_pin_is_set(void);

/*
 * The name of the release. Raises undefined_object where there is none of that
 * name, and object_not_in_prerequisite_state where it is retired.
 */
extern const char *migrate_pin_release(void);

/* Does the release know a migration? As migrate_pin_release() otherwise. */
extern bool migrate_pin_knows(const char *migration);

/* Bit i for each live migration i that the release knows; none where the session is not pinned. */
extern uint32 migrate_pin_speaks(const Conversion *conversion);

/* After a change of what releases there are: every session looks again. */
extern void migrate_pin_invalidate(void);

#endif							/* MIGRATE_CONVERT_PIN_H */
