/*
 * convert/minimum.c
 *		Which live migrations a release that is in support lacks.
 *
 * The releases that are not retired are the minimum below which no row may fall:
 * their clients may come any time, and are to find in the old form what was
 * written in the new one (write/minimum.c holds writes to that). Whether a release
 * lacks a migration is part of the compiled Conversion, so that a write finds it
 * there. Whatever changes it compiles that anew:
 *
 * - expand, which makes live what older releases lack. It keeps releases from
 *   coming meanwhile (lifecycle/release.c), so of the two one sees the other.
 * - create_release, of a release that lacks something live. It locks writers out of the
 *   tables concerned until it has committed: so whoever was writing has ended, and
 *   whoever comes next looks again.
 * - retire_release, without a lock: who has not heard of it yet still refuses.
 */
#include "postgres.h"

#include "utils/fmgroids.h"

#include "catalog/names.h"
#include "convert/minimum.h"
#include "convert/rows.h"

/* ---- who lacks a migration ---- */

typedef struct Release
{
	char	   *name;
	int64		seq;
} Release;

static int
compare_age(const ListCell *a, const ListCell *b)
{
	int64		left = ((const Release *) lfirst(a))->seq;
	int64		right = ((const Release *) lfirst(b))->seq;

	return (left > right) - (left < right);
}

/* Those that are not retired, the oldest first. */
static List *
releases_in_support(void)
{
	Rows		rows;
	List	   *releases = NIL;

	if (!rows_begin(&rows, "release", "release_pkey", 0, NULL))
		return NIL;
	while (rows_next(&rows))
	{
		Release    *release;
		bool		in_support;
		bool		isnull;

		(void) rows_get(&rows, "retired_at", &in_support);
		if (!in_support)
			continue;
		release = palloc(sizeof(Release));
		release->name = rows_get_text(&rows, "name");
		release->seq = DatumGetInt64(rows_get(&rows, "seq", &isnull));
		releases = lappend(releases, release);
	}
	rows_end(&rows);
	list_sort(releases, compare_age);
	return releases;
}

static bool
knows(const Release *release, const char *migration)
{
	ScanKeyData keys[2];
	Rows		rows;
	bool		found;

	rows_key_text(&keys[0], 1, release->name);
	rows_key_text(&keys[1], 2, migration);
	if (!rows_begin(&rows, "release_migration", "release_migration_pkey", lengthof(keys), keys))
		return true;
	found = rows_next(&rows);
	rows_end(&rows);
	return found;
}

void
migrate_minimum_note(Conversion *conversion)
{
	List	   *releases = releases_in_support();

	for (int i = 0; i < conversion->nlive; i++)
	{
		LiveMigration *live = &conversion->live[i];
		ListCell   *lc;

		foreach(lc, releases)
		{
			const Release *release = lfirst(lc);

			if (knows(release, live->name))
				continue;
			live->lacked_by = release->name;
			conversion->has_minimum = true;
			break;
		}
	}
}

/* ---- what a release lacks ---- */

List *
migrate_minimum_tables(List *known)
{
	Rows		rows;
	List	   *tables = NIL;

	if (!rows_begin(&rows, "migration", "migration_pkey", 0, NULL))
		return NIL;
	while (rows_next(&rows))
	{
		bool		isnull;

		if (migrate_conversion_is_live_state(rows_get_text(&rows, "state")) &&
			!migrate_names_contain(known, rows_get_text(&rows, "name")))
			tables = list_append_unique_oid(tables,
											DatumGetObjectId(rows_get(&rows, "relation",
																	  &isnull)));
	}
	rows_end(&rows);
	return tables;
}
