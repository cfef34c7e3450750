/*
 * convert/excuse.c
 *		Which writes the constraints of a new form hold for.
 *
 * A constraint in "add" holds for the new form. A client of the old form knows
 * nothing of it, and its writes must not fail because of what "up" makes of
 * them. So until the migration is about to be complete the table's constraint is
 *
 *		CHECK ((the condition) OR migrate.excused(the migration)) NOT VALID
 *
 * The write trigger notes for each row what the statement set; the server checks
 * the row's constraints next, and asks. What triggers in between write is noted
 * too, so the last trigger notes the row once more. A row that an UPDATE moves to
 * another partition comes there as an INSERT that says its version: if what was noted
 * last is an UPDATE of the same command it holds for that. An answer that is too
 * lenient (where a BEFORE DELETE trigger has written in between) lets a row in that is
 * found at the end; the constraint is not believed before the server has validated
 * its plain form.
 *
 * The backfill is not excused: a stored row that "up" makes break the constraint
 * fails, and is shown among the failures.
 */
#include "postgres.h"

#include "access/xact.h"

#include "convert/excuse.h"
#include "migrate.h"

/* Of the row that was noted last. */
static Oid	noted_relid = InvalidOid;
static int32 noted_version;
static int	nnoted = 0;
static char noted[MIGRATE_MAX_LIVE][NAMEDATALEN * 2];
static bool speaks_new[MIGRATE_MAX_LIVE];

/* The UPDATE that wrote it; its table is InvalidOid where something else did. */
static Oid	updated_root = InvalidOid;
static CommandId updated_by;
static TimestampTz updated_in;	/* the transaction, by its start */

/* Names may be longer than is kept of them: they are compared as far as it goes. */
static void
note_names(const Conversion *conversion)
{
	noted_relid = conversion->relid;
	noted_version = conversion->version;
	nnoted = conversion->nlive;
	for (int i = 0; i < nnoted; i++)
		strlcpy(noted[i], conversion->live[i].name, sizeof(noted[i]));
}

/*
 * What is live on a table changes by an expand, which makes a new version, or
 * leaves fewer: so these three tell whether the names are the same still.
 */
static void
note(const Conversion *conversion, const Bitmapset *set, bool all)
{
	if (conversion->relid != noted_relid || conversion->version != noted_version ||
		conversion->nlive != nnoted)
		note_names(conversion);
	for (int i = 0; i < nnoted; i++)
		speaks_new[i] = all || bms_overlap(conversion->live[i].added, set);
	updated_root = InvalidOid;
}

void
migrate_excuse_note_write(const Conversion *conversion, const Bitmapset *set)
{
	note(conversion, set, false);
}

void
migrate_excuse_note_update(const Conversion *conversion)
{
	updated_root = conversion->root;
	updated_by = GetCurrentCommandId(false);
	updated_in = GetCurrentTransactionStartTimestamp();
}

/* The live migrations of partitions are those of their root, in the same order. */
static bool
is_moved(const Conversion *conversion)
{
	return updated_root == conversion->root && noted_relid != conversion->relid &&
		noted_version == conversion->version && nnoted == conversion->nlive &&
		updated_by == GetCurrentCommandId(false) &&
		updated_in == GetCurrentTransactionStartTimestamp();
}

void
migrate_excuse_note_stored(const Conversion *conversion)
{
	if (is_moved(conversion))
		migrate_excuse_note_again(conversion, migrate_excuse_noted());
	else
		note(conversion, NULL, false);
}

void
migrate_excuse_note_none(const Conversion *conversion)
{
	note(conversion, NULL, true);
}

uint32
migrate_excuse_noted(void)
{
	uint32		forms = 0;

	for (int i = 0; i < nnoted; i++)
		if (speaks_new[i])
			forms |= (uint32) 1 << i;
	return forms;
}

void
migrate_excuse_note_again(const Conversion *conversion, uint32 forms)
{
	note(conversion, NULL, false);
	for (int i = 0; i < nnoted; i++)
		speaks_new[i] = (forms & ((uint32) 1 << i)) != 0;
}

bool
migrate_excuse_is_due(const char *migration)
{
	for (int i = 0; i < nnoted; i++)
		if (strncmp(noted[i], migration, sizeof(noted[i]) - 1) == 0)
			return !speaks_new[i];
	return true;
}
