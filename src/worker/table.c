/*
 * worker/table.c
 *		A table's worker: it carries one managed table to completion.
 *
 * Step by step (lifecycle/advance.c), each in a transaction of its own, with
 * the rest that each asks for. It ends when the table is complete or paused,
 * when only rows are left that fail, or when asked to.
 *
 * A table may have more workers, which only help: they convert rows in other parts of it
 * (backfill/part.c), and end when they find none to take. They may end at any time, as
 * when another table has no worker or the settings allow for fewer; and so may the first,
 * whom another follows.
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

/* How long who only helps waits for a part to take, in milliseconds. */
#define LONGEST_IDLE_TIME	2000

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

/* Who only helps has no part, and has had none for a while. */
static bool
is_superfluous(const Advance *advance, AdvanceStatus status, long *idle)
{
	if (!advance->backfill.only_helps || advance->backfill.kept != NIL ||
		status != ADVANCE_WAITING)
		*idle = 0;
	else
		*idle += Max(advance->backfill.pause, 1);
	return *idle > LONGEST_IDLE_TIME;
}

/* When a round has begun it is known how much there is to convert. */
static void
ask_for_help(const WorkerSlot *slot, const Advance *advance, bool *asked)
{
	bool		is_converting = advance->backfill.parts > 0;

	if (is_converting && !*asked && slot->number == 0 && migrate_guc_workers_per_table > 1)
		(void) migrate_slot_poke(slot->database);
	*asked = is_converting;
}

/* Are so many workers to be at a table? */
static bool
is_wanted(const WorkerSlot *slot)
{
	return slot->number < migrate_guc_workers_per_table && !migrate_slot_is_unwanted(slot);
}

static bool
goes_on(const WorkerSlot *slot, AdvanceStatus status)
{
	return migrate_session_goes_on() && is_wanted(slot) &&
		(status == ADVANCE_WORKED || status == ADVANCE_WAITING);
}

/* Returns after how many milliseconds to take the next. */
static long
try_step(Advance *advance, MemoryContext context, AdvanceStatus *status, long *error_wait)
{
	volatile long pause;

	PG_TRY();
	{
		*status = take_step(advance);
		pause = advance->backfill.pause;
		*error_wait = FIRST_ERROR_WAIT / 2;
	}
	PG_CATCH();
	{
		pause = *error_wait = recover(advance, context, *error_wait);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return pause;
}

static void
carry_to_completion(const WorkerSlot *slot, MemoryContext context)
{
	Advance		advance;
	AdvanceStatus status = ADVANCE_WORKED;
	long		error_wait = FIRST_ERROR_WAIT / 2;
	long		idle = 0;
	bool		asked = false;

	migrate_advance_init(&advance, slot->relation);
	if (slot->number > 0)
		migrate_advance_only_help(&advance);
	advance.backfill.stop = &ShutdownRequestPending;
	while (goes_on(slot, status) && !is_superfluous(&advance, status, &idle))
	{
		long		pause = try_step(&advance, context, &status, &error_wait);

		ask_for_help(slot, &advance, &asked);
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
	carry_to_completion(slot, context);
	proc_exit(0);
}
