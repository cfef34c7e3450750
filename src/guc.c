/*
 * guc.c
 *		Every setting of the extension, a row each.
 *
 * The variables live here so that any module may read any setting without
 * including the module that acts on it. Background workers see the server's
 * values; where a session can set one too (PGC_USERSET), that counts for what
 * the session does itself.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/varlena.h"

#include "guc.h"
#include "migrate.h"

bool		migrate_guc_autostart = true;
int			migrate_guc_max_workers = 2;
int			migrate_guc_workers_per_table = 1;
int			migrate_guc_naptime = 60;
int			migrate_guc_max_rows_per_second = 0;
int			migrate_guc_target_batch_time = 100;
int			migrate_guc_max_wal_rate = 0;
int			migrate_guc_max_replication_lag = 10000;
int			migrate_guc_max_archive_backlog = 64;
char	   *migrate_guc_throttle_query = NULL;
bool		migrate_guc_wait_for_horizon = true;
bool		migrate_guc_read_repair = false;
int			migrate_guc_lock_timeout = 2000;
int			migrate_guc_lock_attempts = 30;
bool		migrate_guc_guard = true;
char	   *migrate_guc_release = NULL;

char	   *migrate_guc_usage_ignore = NULL;
uint32		migrate_guc_usage_ignore_changes = 0;
int			migrate_guc_usage_flush_interval = 10;

MigrateReleaseCheck migrate_guc_release_check = NULL;
MigrateReleaseAssign migrate_guc_release_assign = NULL;

static void
define_bool(const char *name, bool *variable, bool value, GucContext context,
			const char *summary, const char *detail)
{
	DefineCustomBoolVariable(name, summary, detail, variable, value, context, 0,
							 NULL, NULL, NULL);
}

static void
define_int(const char *name, int *variable, int value, int min, int max, int unit,
		   GucContext context, const char *summary, const char *detail)
{
	DefineCustomIntVariable(name, summary, detail, variable, value, min, max,
							context, unit, NULL, NULL, NULL);
}

/* What reads note is part of their plans. */
static void
assign_read_repair(bool value, void *extra)
{
	if (value != migrate_guc_read_repair)
		ResetPlanCache();
}

static bool
check_usage_ignore(char **value, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*value);
	List	   *programs;
	bool		ok = SplitGUCList(copy, ',', &programs);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(programs);
	pfree(copy);
	return ok;
}

static void
assign_usage_ignore(const char *value, void *extra)
{
	migrate_guc_usage_ignore_changes++;
}

static bool
check_release(char **value, void **extra, GucSource source)
{
	return migrate_guc_release_check == NULL || migrate_guc_release_check(*value, source);
}

static void
assign_release(const char *value, void *extra)
{
	if (migrate_guc_release_assign != NULL)
		migrate_guc_release_assign(value);
}

void
migrate_guc_init(void)
{
	define_bool("migrate.autostart", &migrate_guc_autostart, true, PGC_SIGHUP,
				"Converts stale rows in the background.",
				"When off, rows are converted by CALL migrate.run() and as they are written.");
	define_int("migrate.max_workers", &migrate_guc_max_workers, 2, 1, 64, 0, PGC_SIGHUP,
			   "Sets how many workers convert tables in the background at once.",
			   "Counts over all databases, and takes from max_worker_processes.");
	define_int("migrate.workers_per_table", &migrate_guc_workers_per_table, 1, 1, 64, 0, PGC_SIGHUP,
			   "Sets how many workers convert one table at once, where it is large enough.",
			   "They take different partitions, or different ranges of blocks. What limits a table's conversion limits all of its workers together.");
	define_int("migrate.naptime", &migrate_guc_naptime, 60, 1, INT_MAX / 1000, GUC_UNIT_S, PGC_SIGHUP,
			   "Sets how often every database is looked at for work unasked.",
			   "Work that migrate.expand makes is seen at once.");
	define_int("migrate.max_rows_per_second", &migrate_guc_max_rows_per_second, 0, 0, INT_MAX, 0, PGC_USERSET,
			   "Limits how many rows of a table are converted in a second.",
			   "Zero means no limit. A background worker heeds the server's value, CALL migrate.run() its session's.");
	define_int("migrate.target_batch_time", &migrate_guc_target_batch_time, 100, 1, 60000, GUC_UNIT_MS, PGC_USERSET,
			   "Sets how long one transaction of the conversion should take.",
			   "A batch grows or shrinks to meet it. Rows that a batch converts are locked until it commits.");
	define_int("migrate.max_wal_rate", &migrate_guc_max_wal_rate, 0, 0, INT_MAX, GUC_UNIT_KB, PGC_USERSET,
			   "Limits how much WAL the conversion of a table writes in a second.",
			   "Zero means no limit.");
	define_int("migrate.max_replication_lag", &migrate_guc_max_replication_lag, 10000, 0, INT_MAX, GUC_UNIT_MS, PGC_USERSET,
			   "Sets how far a connected standby may be behind before the conversion waits for it.",
			   "Zero means no limit.");
	define_int("migrate.max_archive_backlog", &migrate_guc_max_archive_backlog, 64, 0, INT_MAX - 1, 0, PGC_USERSET,
			   "Sets how many WAL files may wait to be archived before the conversion waits for them.",
			   "Zero means no limit.");
	DefineCustomStringVariable("migrate.throttle_query",
							   "Sets a query that has the conversion wait while it returns true or a positive number.",
							   "It is run as the owner of the table that is converted.",
							   &migrate_guc_throttle_query, "", PGC_SUSET, 0,
							   NULL, NULL, NULL);
	define_bool("migrate.wait_for_horizon", &migrate_guc_wait_for_horizon, true, PGC_USERSET,
				"Waits for old snapshots rather than let tables grow.",
				"While somebody can see the rows that were converted, their space cannot be used again. When off, the conversion goes on, and table and indexes grow to up to twice their size.");
	DefineCustomBoolVariable("migrate.read_repair",
							 "Has rows that are read converted before others.",
							 "Blocks in which a read of new columns meets stale rows are noted for whoever converts the table.",
							 &migrate_guc_read_repair, false, PGC_USERSET, 0,
							 NULL, assign_read_repair, NULL);
	define_int("migrate.lock_timeout", &migrate_guc_lock_timeout, 2000, 1, INT_MAX, GUC_UNIT_MS, PGC_USERSET,
			   "Sets how long one attempt at a strong table lock waits.",
			   "Other sessions queue behind such an attempt, so that it is given up and made again.");
	define_int("migrate.lock_attempts", &migrate_guc_lock_attempts, 30, 1, INT_MAX, 0, PGC_USERSET,
			   "Sets how often a strong table lock is attempted before the command fails.",
			   NULL);
	define_bool("migrate.guard", &migrate_guc_guard, true, PGC_SUSET,
				"Refuses commands that would take away what a live migration needs.",
				NULL);

	DefineCustomStringVariable("migrate.usage_ignore",
							   "Sets the programs whose use of deprecated columns does not count.",
							   "A list of values of application_name. They are neither warned nor refused.",
							   &migrate_guc_usage_ignore, "pg_dump", PGC_SUSET, GUC_LIST_INPUT,
							   check_usage_ignore, assign_usage_ignore, NULL);
	define_int("migrate.usage_flush_interval", &migrate_guc_usage_flush_interval, 10, 1, 3600, GUC_UNIT_S, PGC_SIGHUP,
			   "Sets how often counts of the use of deprecated columns are written to a table.",
			   "A crash of the server loses no more than what was counted since.");
	DefineCustomStringVariable("migrate.release",
							   "Sets the release whose form the session speaks.",
							   "An empty string means that the columns of each statement tell.",
							   &migrate_guc_release, "", PGC_USERSET, 0,
							   check_release, assign_release, NULL);

	MarkGUCPrefixReserved(MIGRATE_EXTENSION);
}
