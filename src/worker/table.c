/*
 * worker/table.c
 *		A table's worker: it carries one managed table to completion.
 *
 * Step by step (lifecycle/advance.c), each in a transaction of its own, with
 * the rest that each asks for. It ends when the table is complete or paused,
 * when only rows are left that fail, or when asked to.
 *
 * SIGTERM ends it after the row that it is at; what the batch has converted so
 * far commits. Only the reading of the whole table for the proof, and the
 * operator's own query, are broken off; and a second SIGTERM breaks off whatever it is.
 * SIGHUP has it read its settings after the batch. An error takes back the
 * step, is logged and shown in migrate.progress, and the step is tried again
 * after a while. kill -9 loses the step, and the worker starts again with the
 * server's other processes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "backfill/progress.h"
#include "backfill/throttle_query.h"
#include "catalog/store.h"
#include "guc.h"
#include "lifecycle/advance.h"
#include "worker/session.h"
#include "worker/slot.h"

/* How long to wait after an error, in milliseconds, at first. */
#define FIRST_ERROR_WAIT	1000

PGDLLEXPORT void migrate_worker_table_main(Datum argument);

static void
on_sigterm(SIGNAL_ARGS)
{
	if (migrate_advance_is_proving || migrate_throttle_query_is_running ||
		ShutdownRequestPending)
		die(postgres_signal_arg);
	else
		SignalHandlerForShutdownRequest(postgres_signal_arg);
}

/* ---- saying what goes on ---- */

static void
report_activity(Oid relation, const char *held_by)
{
	char		activity[NAMEDATALEN * 2 + 300];
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		return;
	snprintf(activity, sizeof(activity), "migrate: converting table %s%s%s", name,
			 held_by[0] ? ", held by " : "", held_by);
	pgstat_report_activity(STATE_RUNNING, activity);
}

static void
record_error(Oid relation, const char *message)
{
	migrate_session_begin_transaction();
	migrate_progress_lock(relation);
	migrate_store_execute("UPDATE migrate.backfill SET last_error = $2 WHERE root = $1",
						  STORE_ARGS(store_relation(relation), store_text(message)));
	migrate_session_end_transaction();
}

/* ---- steps ---- */

static AdvanceStatus
take_step(Advance *advance)
{
	AdvanceStatus status;

	migrate_session_begin_transaction();
	report_activity(advance->backfill.root, advance->backfill.held_by);
	status = migrate_advance_step(advance);
	migrate_session_end_transaction();
	return status;
}

/* Returns how long to wait before the next try. */
static long
recover(Advance *advance, MemoryContext context, long last_wait)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	HOLD_INTERRUPTS();
	error = CopyErrorData();
	EmitErrorReport();
	AbortCurrentTransaction();
	FlushErrorState();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(context);
	record_error(advance->backfill.root, error->message);
	FreeErrorData(error);
	return Min(last_wait * 2, migrate_guc_naptime * 1000L);
}

static void
carry_to_completion(Oid relation, MemoryContext context)
{
	Advance		advance;
	volatile AdvanceStatus status = ADVANCE_WORKED;
	volatile long error_wait = FIRST_ERROR_WAIT / 2;

	migrate_advance_init(&advance, relation);
	advance.backfill.stop = &ShutdownRequestPending;
	while (migrate_session_goes_on() &&
		   (status == ADVANCE_WORKED || status == ADVANCE_WAITING))
	{
		volatile long pause;

		PG_TRY();
		{
			status = take_step(&advance);
			pause = advance.backfill.pause;
			error_wait = FIRST_ERROR_WAIT / 2;
		}
		PG_CATCH();
		{
			pause = error_wait = recover(&advance, context, error_wait);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		migrate_session_sleep(pause);
	}
	migrate_advance_end(&advance);
}

void
migrate_worker_table_main(Datum argument)
{
	WorkerSlot *slot = migrate_slot_attach(argument);
	MemoryContext context;

	migrate_session_begin(slot->database, "migrate worker", on_sigterm);
	context = AllocSetContextCreate(TopMemoryContext, "migrate worker",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	carry_to_completion(slot->relation, context);
	proc_exit(0);
}
