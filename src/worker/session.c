/*
 * worker/session.c
 *		What every background worker does first, and between its steps.
 *
 * A worker connects as the bootstrap superuser, who reads our catalogs; what is
 * done to a table is done as the table's owner (backfill/mover.c). Settings
 * that somebody gave the database for its clients must not end a batch or
 * change what it sees, so they are overridden: nothing that ALTER DATABASE SET
 * says counts against PGC_S_OVERRIDE.
 *
 * Commits are asynchronous. A crash may take back the last of them, rows and
 * the record of them together.
 */
#include "postgres.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "guc.h"
#include "worker/session.h"

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

static const Setting settings[] = {
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"transaction_timeout", "0"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"role", "none"},
	{"row_security", "on"},
	{"session_replication_role", "origin"},
	{"synchronous_commit", "off"},
	{"search_path", "pg_catalog, pg_temp"},
	{"migrate.release", ""},
};

static void
override_settings(const char *application_name)
{
	/* Some servers do not know all of them. */
	for (int i = 0; i < lengthof(settings); i++)
		if (GetConfigOption(settings[i].name, true, false) != NULL)
			SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", application_name, PGC_USERSET, PGC_S_OVERRIDE);
}

void
migrate_session_begin(Oid database, const char *application_name, pqsigfunc on_sigterm)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, on_sigterm);
	BackgroundWorkerUnblockSignals();
	if (OidIsValid(database))
	{
		override_settings(application_name);
		BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	}
	else
		BackgroundWorkerInitializeConnection(NULL, NULL, 0);
}

void
migrate_session_begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Statistics after each commit: autovacuum must learn of the dead rows. */
void
migrate_session_end_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

void
migrate_session_refresh(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
migrate_session_sleep(long milliseconds)
{
	if (milliseconds != 0)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
						 (milliseconds > 0 ? WL_TIMEOUT : 0),
						 milliseconds, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	migrate_session_refresh();
}

bool
migrate_session_goes_on(void)
{
	return !ShutdownRequestPending && migrate_guc_autostart;
}
