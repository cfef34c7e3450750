/*
 * guard/usage_check.c
 *		Is the old form still in use? Two of the checks before a contract.
 *
 *	window		the deprecation window is open, and has been for the quiet period
 *	usage		nobody has used a column that would be dropped for that long
 *
 * Nothing is asked of a migration that drops no column.
 *
 * Under the strong lock of a contract the answer to "usage" is final: each statement that
 * has used a column was counted while it held a lock on the table (read/usage.c),
 * and both have ended.
 *
 * Locks: see uses.c. What is read is as of now, whatever the transaction's snapshot.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "catalog/names.h"
#include "catalog/store.h"
#include "catalog/use_counter.h"
#include "convert/rows.h"
#include "guard/usage_check.h"
#include "guard/uses.h"

/* How many uses are told one by one. */
#define MAX_TOLD	8

typedef struct Window
{
	bool		open;
	TimestampTz opened_at;
	Interval   *quiet_period;
	TimestampTz now;
} Window;

static void
fail(GateFinding *finding, char *detail, char *hint)
{
	finding->ok = false;
	finding->detail = detail;
	finding->hint = hint;
}

static char *
skipping(const Migration *migration, const char *check)
{
	return psprintf("SELECT migrate.contract(%s, skip => '{%s}')",
					quote_literal_cstr(migration->name), check);
}

/* ---- the window ---- */

static Window
load_window(const Migration *migration)
{
	Window		window = {.now = GetCurrentTimestamp()};
	ScanKeyData key;
	Rows		rows;
	bool		isnull;

	rows_key_text(&key, 1, migration->name);
	if (!rows_begin(&rows, "migration", "migration_pkey", 1, &key))
		return window;
	if (rows_next(&rows))
	{
		Datum		opened_at = rows_get(&rows, "deprecated_at", &isnull);

		window.open = !isnull;
		if (window.open)
		{
			window.opened_at = DatumGetTimestampTz(opened_at);
			window.quiet_period = palloc(sizeof(Interval));
			*window.quiet_period = *DatumGetIntervalP(rows_get(&rows, "quiet_period", &isnull));
		}
	}
	rows_end(&rows);
	return window;
}

/* From when on nobody must have used the columns. */
static TimestampTz
quiet_since(const Window *window)
{
	Datum		since = DirectFunctionCall2(timestamptz_mi_interval,
											TimestampTzGetDatum(window->now),
											IntervalPGetDatum(window->quiet_period));

	return Max(DatumGetTimestampTz(since), window->opened_at);
}

static char *
period_text(const Window *window)
{
	return DatumGetCString(DirectFunctionCall1(interval_out,
											   IntervalPGetDatum(window->quiet_period)));
}

static void
fail_unopened(const Migration *migration, GateFinding *finding, char *detail)
{
	fail(finding, detail, psprintf("Open the deprecation window: SELECT migrate.deprecate(%s)",
								   quote_literal_cstr(migration->name)));
}

void
migrate_usage_check_window(const Migration *migration, GateFinding *finding)
{
	Window		window;
	TimestampTz over_at;

	if (!migrate_migration_is_live(migration) || migrate_gate_columns_to_drop(migration) == NIL)
		return;
	window = load_window(migration);
	if (!window.open)
	{
		fail_unopened(migration, finding, "The deprecation window of what would be dropped is not open.");
		return;
	}
	over_at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													  TimestampTzGetDatum(window.opened_at),
													  IntervalPGetDatum(window.quiet_period)));
	if (over_at > window.now)
		fail(finding,
			 psprintf("The deprecation window is open since %s, not yet for the quiet period of %s.",
					  pstrdup(timestamptz_to_str(window.opened_at)), period_text(&window)),
			 psprintf("Wait until %s, or: %s", pstrdup(timestamptz_to_str(over_at)),
					  skipping(migration, "window")));
}

/* ---- its use ---- */

static char *
age_text(TimestampTz then, TimestampTz now)
{
	static const struct
	{
		int64		seconds;
		const char *name;
	}			units[] = {
		{SECS_PER_DAY, "day"}, {SECS_PER_HOUR, "hour"}, {SECS_PER_MINUTE, "minute"}, {1, "second"}};
	int64		age = Max(now - then, 0) / USECS_PER_SEC;
	int			i = 0;

	while (i < lengthof(units) - 1 && age < 2 * units[i].seconds)
		i++;
	age /= units[i].seconds;
	return psprintf(INT64_FORMAT " %s%s ago", age, units[i].name, age == 1 ? "" : "s");
}

static int
compare_last_used(const ListCell *a, const ListCell *b)
{
	TimestampTz left = ((ColumnUse *) lfirst(a))->last_used;
	TimestampTz right = ((ColumnUse *) lfirst(b))->last_used;

	return (left < right) - (left > right);
}

/* The latest first. */
static List *
uses_since(const Migration *migration, TimestampTz since)
{
	List	   *columns = migrate_gate_columns_to_drop(migration);
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, migrate_uses_load(migration->relid))
	{
		ColumnUse  *use = lfirst(lc);

		if (use->last_used >= since && migrate_names_contain(columns, use->column))
			found = lappend(found, use);
	}
	list_sort(found, compare_last_used);
	return found;
}

static void
describe_use(StringInfo buf, const ColumnUse *use, TimestampTz now)
{
	appendStringInfo(buf, "column \"%s\" %s by ", use->column, use->writes ? "written" : "read");
	if (use->role[0] == '\0')
		appendStringInfoString(buf, "somebody");
	else
		appendStringInfo(buf, "role \"%s\", program \"%s\"", use->role, use->application_name);
	appendStringInfo(buf, ", " INT64_FORMAT " %s, last %s", use->count,
					 use->count == 1 ? "time" : "times", age_text(use->last_used, now));
}

static char *
describe_uses(List *uses, TimestampTz now)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, uses)
	{
		if (foreach_current_index(lc) == MAX_TOLD)
		{
			appendStringInfo(&buf, "; and %d more in migrate.column_usage",
							 list_length(uses) - MAX_TOLD);
			break;
		}
		appendStringInfoString(&buf, buf.len > 0 ? "; " : "");
		describe_use(&buf, lfirst(lc), now);
	}
	return buf.data;
}

/* Connected ones that may be read from; logical ones have their own counts of their own tables. */
static char *
standbys(void)
{
	return migrate_store_fetch("SELECT string_agg(format('%I', application_name), ', '"
							   " ORDER BY application_name) FROM pg_stat_replication r"
							   " WHERE state IN ('streaming', 'catchup') AND NOT EXISTS ("
							   "  SELECT FROM pg_replication_slots s"
							   "  WHERE s.active_pid = r.pid AND s.slot_type = 'logical')",
							   STORE_NO_ARGS);
}

static void
mention_standbys(GateFinding *finding)
{
	char	   *names = standbys();

	if (names == NULL)
		return;
	finding->detail = psprintf("Uses on standbys are counted there, and cannot be seen from here; connected are: %s.",
							   names);
	finding->hint = "Run on each: SELECT * FROM migrate.column_usage";
}

void
migrate_usage_check_uses(const Migration *migration, GateFinding *finding)
{
	Window		window;
	TimestampTz since;
	TimestampTz lost_at;
	List	   *uses;

	if (!migrate_migration_is_live(migration) || migrate_gate_columns_to_drop(migration) == NIL)
		return;
	window = load_window(migration);
	if (!window.open)
	{
		fail_unopened(migration, finding, "Whether somebody uses what would be dropped is not known.");
		return;
	}
	since = quiet_since(&window);
	uses = uses_since(migration, since);
	lost_at = migrate_use_counter_lost();
	if (uses != NIL)
		fail(finding, psprintf("Used within the quiet period of %s: %s.", period_text(&window),
							   describe_uses(uses, window.now)),
			 psprintf("Have those use the new columns, or accept that they fail: %s",
					  skipping(migration, "usage")));
	else if (lost_at >= since && lost_at != 0)
		fail(finding, psprintf("There were more uses of deprecated columns than there is room to count, last %s.",
							   age_text(lost_at, window.now)),
			 psprintf("Contract other migrations first, or: %s", skipping(migration, "usage")));
	else
		mention_standbys(finding);
}
