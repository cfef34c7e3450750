/*
 * convert/excuse.h
 *		Which writes the constraints of a new form hold for.
 */
#ifndef MIGRATE_CONVERT_EXCUSE_H
#define MIGRATE_CONVERT_EXCUSE_H

#include "convert/conversion.h"

/*
 * A row is about to be checked. "set": the columns that the statement set; NULL:
 * none, so that it is excused from whatever holds for a new form.
 */
extern void migrate_excuse_note_write(const Conversion *conversion, const Bitmapset *set);

/* What was noted is an UPDATE: the row may yet be moved to another partition. */
extern void migrate_excuse_note_update(const Conversion *conversion);

/* A row that comes as it is stored: excused, unless it is one that is moved. */
extern void migrate_excuse_note_stored(const Conversion *conversion);

/* A row was carried over by the backfill: no excuse. */
extern void migrate_excuse_note_none(const Conversion *conversion);

/* A bit for each live migration whose new form was spoken for the row that was noted last. */
extern uint32 migrate_excuse_noted(void);

/* What a nested write may have noted over: note it again. */
extern void migrate_excuse_note_again(const Conversion *conversion, uint32 forms);

/* Is the row that is being checked excused from a migration's constraints? */
extern bool migrate_excuse_is_due(const char *migration);

#endif							/* MIGRATE_CONVERT_EXCUSE_H */
