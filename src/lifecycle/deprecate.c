/*
 * lifecycle/deprecate.c
 *		Announcing the end of the old form.
 *
 * deprecate() opens the window in which uses of the columns that a migration removes
 * are counted (read/usage.c), and says what is to become of them. Called again it
 * changes that, and the window stays open since when it was. It may be opened as soon
 * as the migration is expanded: clients can leave the old form from then on.
 *
 * Locks: the migration's catalog row, as every transition; none on the table. The
 * commit invalidates the table, and with it cached plans, in every session and on
 * standbys; read/usage.c says what begins to count when.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "lifecycle/deprecate.h"
#include "shmem.h"

/* ---- may it be deprecated? ---- */

static void
check_action(const char *action)
{
	if (migrate_conversion_deprecation(action) == DEPRECATION_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown action \"%s\"", action),
				 errhint("It can be \"log\", \"warning\" or \"error\".")));
}

static bool
is_less(const Interval *a, const Interval *b)
{
	return DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(a),
											IntervalPGetDatum(b)));
}

/* Times that are reckoned with it must not overflow. */
static void
check_period(const Interval *period)
{
	static const Interval none = {0};
	static const Interval longest = {.month = 1000 * MONTHS_PER_YEAR};

	if (is_less(period, &none) || is_less(&longest, period))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"quiet_period\" must be between 0 and 1000 years")));
}

static void
check_state(const Migration *migration)
{
	if (migrate_migration_is_live(migration))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("migration \"%s\" cannot be deprecated", migration->name),
			 errdetail("It is %s.", migrate_migration_state_name(migration->state)),
			 migration->state == MIGRATION_CONTRACTED ?
			 errhint("Its old form is gone.") :
			 errhint("There is no other form to use yet; expand it first: SELECT migrate.expand(%s)",
					 quote_literal_cstr(migration->name))));
}

static bool
has_something_to_deprecate(const Migration *migration)
{
	if (migration->remove != NIL)
		return true;
	ereport(NOTICE,
			(errmsg("migration \"%s\" removes no column, skipping", migration->name)));
	return false;
}

/* ---- deprecating ---- */

static char *
period_text(const Interval *period)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(period)));
}

typedef struct OldWindow
{
	char	   *quiet_period;	/* NULL: it was not open */
	char	   *action;
} OldWindow;

static OldWindow
load_old(const char *name)
{
	char	   *columns[2] = {NULL, NULL};
	OldWindow	old;

	(void) migrate_store_fetch_row("SELECT quiet_period, deprecation FROM migrate.migration WHERE name = $1",
								   STORE_ARGS(store_text(name)), 2, columns);
	old.quiet_period = columns[0];
	old.action = columns[1];
	return old;
}

/* To change the action alone takes saying the period again. */
static void
notice_period(const Migration *migration, const OldWindow *old, const char *period)
{
	if (old->quiet_period != NULL && strcmp(old->quiet_period, period) != 0)
		ereport(NOTICE,
				(errmsg("quiet period of migration \"%s\" is now %s, it was %s",
						migration->name, period, old->quiet_period)));
}

static void
set_window(const Migration *migration, const Interval *quiet_period, const char *action)
{
	StoreArg	period = store_datum(INTERVALOID, IntervalPGetDatum(quiet_period), false);

	migrate_store_execute("UPDATE migrate.migration SET quiet_period = $2, deprecation = $3,"
						  " deprecated_at = coalesce(deprecated_at, clock_timestamp())"
						  " WHERE name = $1",
						  STORE_ARGS(store_text(migration->name), period, store_text(action)));
	migrate_conversion_invalidate(migration->relid);
}

void
migrate_lifecycle_deprecate(const char *name, const Interval *quiet_period, const char *action)
{
	Migration  *migration = migrate_migration_load(name, false, false);
	char	   *period = period_text(quiet_period);
	OldWindow	old;

	migrate_migration_check_owner(migration->relid);
	migrate_migration_check_preloaded();
	check_action(action);
	check_period(quiet_period);
	migration = migrate_migration_load(name, true, false);
	check_state(migration);
	if (!has_something_to_deprecate(migration))
		return;
	old = load_old(name);
	notice_period(migration, &old, period);
	set_window(migration, quiet_period, action);
	migrate_migration_record(name, "deprecated",
							 psprintf("quiet period %s, action %s", period, action));
}

/* What another migration has deprecated as well goes on being counted. */
void
migrate_deprecate_forget(const Migration *migration)
{
	if (migration->state == MIGRATION_ROLLED_BACK)
		migrate_store_execute("UPDATE migrate.migration SET deprecated_at = NULL,"
							  " quiet_period = NULL, deprecation = NULL WHERE name = $1",
							  STORE_ARGS(store_text(migration->name)));
	migrate_store_execute("DELETE FROM migrate.column_use u"
								 " WHERE relation = $1 AND NOT EXISTS ("
								 "  SELECT FROM migrate.migration m"
								 "  WHERE m.relation = $1 AND m.deprecated_at IS NOT NULL"
								 "  AND m.state IN ('expanded', 'complete')"
								 "  AND u.column_name = ANY (m.remove))",
								 STORE_ARGS(store_relation(migration->relid)));
}
