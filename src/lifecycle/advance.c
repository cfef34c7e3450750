/*
 * lifecycle/advance.c
 *		Carrying one managed table from expanded to complete, step by step.
 *
 * What comes next is read from the catalog in each step, but for the wait for
 * older snapshots, which is this session's own and starts over in another.
 * Both a background worker and CALL migrate.run() come this way.
 */
#include "postgres.h"

#include "postmaster/bgworker.h"
#include "utils/builtins.h"

#include "backfill/origin.h"
#include "backfill/pause.h"
#include "backfill/progress.h"
#include "catalog/store.h"
#include "guard/expression_dependencies.h"
#include "lifecycle/advance.h"
#include "lifecycle/constraint.h"
#include "lifecycle/deferral.h"
#include "lifecycle/index.h"
#include "lifecycle/lock.h"
#include "lifecycle/statistics.h"

/* How long to wait before another look, in milliseconds. */
#define SETTLE_WAIT		50
#define PROOF_WAIT		1000
#define INDEX_WAIT		50
#define PAUSE_WAIT		100

/* Up to so many builders of indexes are started without a rest. */
#define MAX_EAGER_BUILDERS	4
#define HELD_BY_PAUSE		"migrate.pause()"
#define HELD_BY_STALE_ROW	"a stale row that only the proof has found"


volatile sig_atomic_t migrate_advance_is_proving = false;

void
migrate_advance_init(Advance *advance, Oid root)
{
	memset(advance, 0, sizeof(Advance));
	migrate_backfill_init(&advance->backfill, root);
	advance->context = CurrentMemoryContext;
}

void
migrate_advance_only_help(Advance *advance)
{
	advance->backfill.only_helps = true;
}

void
migrate_advance_end(Advance *advance)
{
	migrate_backfill_end(&advance->backfill);
	migrate_complete_end_settling(&advance->settling);
}

/* False where the table is not managed any more, or does not exist. */
static bool
is_managed(Oid root, bool *paused)
{
	char	   *value = migrate_store_fetch("SELECT paused FROM migrate.managed WHERE relation = $1",
											STORE_ARGS(store_relation(root)));

	*paused = value != NULL && strcmp(value, "t") == 0;
	return value != NULL;
}

static bool
is_building(const Advance *advance)
{
	pid_t		pid;

	return advance->builder != NULL &&
		GetBackgroundWorkerPid(advance->builder, &pid) == BGWH_STARTED;
}

/*
 * Others hold locks that stand against these (of TableLock *): say who. A builder of
 * our own is no stranger, and is waited for as long as it takes.
 */
static AdvanceStatus
wait_for_locks(Advance *advance, List *wanted, long pause)
{
	char	   *holders = migrate_lock_holders(wanted);

	migrate_backfill_hold(&advance->backfill, holders == NULL ? HELD_BY_TABLE_LOCK
						  : psprintf("%s of %s", HELD_BY_TABLE_LOCK, holders), pause);
	return is_building(advance) ? ADVANCE_WORKED : ADVANCE_WAITING;
}

static List *
lock_on_table(const Backfill *backfill, LOCKMODE mode)
{
	return migrate_lock_add(NIL, backfill->root, mode);
}

/* Older snapshots are about to end: the last step. */
static AdvanceStatus
settle(Advance *advance)
{
	Backfill   *backfill = &advance->backfill;
	char		who[sizeof(backfill->held_by)];

	backfill->converted = 0;
	if (!migrate_complete_is_settled(&advance->settling, who, sizeof(who)))
	{
		migrate_backfill_hold(backfill, who, SETTLE_WAIT);
		return ADVANCE_WAITING;
	}
	if (!migrate_complete_finish(backfill->root, advance->settling.version))
		return wait_for_locks(advance, lock_on_table(backfill, AccessShareLock), SETTLE_WAIT);
	migrate_complete_end_settling(&advance->settling);
	migrate_backfill_hold(backfill, NULL, 0);
	return ADVANCE_WORKED;
}

/* Who is asked to stop after this has been set is interrupted; before, we see it. */
static ProofResult
try_to_prove(const Backfill *backfill)
{
	volatile ProofResult result = PROOF_BLOCKED;

	migrate_advance_is_proving = true;
	PG_TRY();
	{
		if (backfill->stop == NULL || !*backfill->stop)
			result = migrate_complete_prove(backfill->root);
	}
	PG_FINALLY();
	{
		migrate_advance_is_proving = false;
	}
	PG_END_TRY();
	return result;
}

/* ---- declared indexes ---- */

/* A builder that ended and left work behind is started again, but not at once. */
static bool
start_builder(Advance *advance, bool is_final)
{
	BackgroundWorkerHandle *before = advance->builder;
	MemoryContext old = MemoryContextSwitchTo(advance->context);
	bool		started = migrate_index_start_builder(advance->backfill.root, is_final,
													  &advance->builder);

	MemoryContextSwitchTo(old);
	if (started && advance->builder != before)
		advance->builders++;
	return started;
}

/* Those on what stale rows read as are built beside the conversion. */
static void
begin_indexes(Advance *advance)
{
	char	   *name;

	if (migrate_index_state(advance->backfill.root, false, &name) == INDEX_PENDING)
		(void) start_builder(advance, false);
}

/*
 * All is converted, and what served stale rows is to be dropped: a concurrent DROP INDEX
 * may take as long as there are older transactions, so that is not waited for. But a
 * process has to be at it. The last that we started may have looked for the last time
 * already, or have never come up.
 */
static AdvanceStatus
leave_indexes(Advance *advance)
{
	Backfill   *backfill = &advance->backfill;
	bool		is_eager = advance->builders <= MAX_EAGER_BUILDERS;
	char	   *name;

	if (backfill->only_helps)
		return ADVANCE_DONE;
	if (migrate_index_state(backfill->root, false, &name) != INDEX_PENDING ||
		migrate_index_is_claimed(backfill->root))
	{
		migrate_backfill_hold(backfill, NULL, 0);
		return ADVANCE_DONE;
	}
	migrate_backfill_hold(backfill, psprintf("the dropping of index \"%s\"", name),
						  is_eager ? INDEX_WAIT : PROOF_WAIT);
	return is_eager && is_building(advance) ? ADVANCE_WORKED : ADVANCE_WAITING;
}

/* True where all stand; else what to do in their stead. */
static bool
finish_indexes(Advance *advance, AdvanceStatus *status)
{
	Backfill   *backfill = &advance->backfill;
	char	   *name;

	switch (migrate_index_state(backfill->root, true, &name))
	{
		case INDEX_READY:
			return true;
		case INDEX_FAILED:
			migrate_progress_set_phase(backfill->root, PHASE_SCANNED, PHASE_FAILED);
			*status = ADVANCE_FAILED;
			return false;
		case INDEX_PENDING:
			break;
	}
	if (start_builder(advance, true))
	{
		migrate_backfill_hold(backfill, psprintf("the building of index \"%s\"", name),
							  advance->builders > MAX_EAGER_BUILDERS ? PROOF_WAIT : INDEX_WAIT);
		*status = ADVANCE_WORKED;
	}
	else
	{
		migrate_backfill_hold(backfill, "max_worker_processes", PROOF_WAIT);
		*status = ADVANCE_WAITING;
	}
	return false;
}

/* ---- constraints ---- */

/* It may read the table, or wait for locks: whoever asks us to stop interrupts it. */
static ConstraintStep
try_constraints(const Backfill *backfill)
{
	volatile ConstraintStep step = CONSTRAINTS_BLOCKED;

	migrate_advance_is_proving = true;
	PG_TRY();
	{
		if (backfill->stop == NULL || !*backfill->stop)
			step = migrate_constraint_step(backfill->root);
	}
	PG_FINALLY();
	{
		migrate_advance_is_proving = false;
	}
	PG_END_TRY();
	return step;
}

/* True where all are in force; else what to do in their stead. */
static bool
finish_constraints(Advance *advance, AdvanceStatus *status)
{
	Backfill   *backfill = &advance->backfill;

	switch (try_constraints(backfill))
	{
		case CONSTRAINTS_STAND:
			return true;
		case CONSTRAINTS_WORKED:
			*status = ADVANCE_WORKED;
			break;
		case CONSTRAINTS_BROKEN:
			migrate_progress_set_phase(backfill->root, PHASE_SCANNED, PHASE_FAILED);
			*status = ADVANCE_FAILED;
			break;
		case CONSTRAINTS_BLOCKED:
			*status = wait_for_locks(advance, migrate_constraint_locks(backfill->root),
									 PROOF_WAIT);
			break;
	}
	return false;
}

/* ---- the end of deferring ---- */

/* It may wait for a lock: whoever asks us to stop interrupts it. */
static DeferralEnd
try_to_end_deferral(const Backfill *backfill)
{
	volatile DeferralEnd end = DEFERRAL_BLOCKED;

	migrate_advance_is_proving = true;
	PG_TRY();
	{
		if (backfill->stop == NULL || !*backfill->stop)
			end = migrate_deferral_end(backfill->root);
	}
	PG_FINALLY();
	{
		migrate_advance_is_proving = false;
	}
	PG_END_TRY();
	return end;
}

/* Rows that were deferred while we were at others. */
static AdvanceStatus
fail(Backfill *backfill)
{
	migrate_progress_set_phase(backfill->root, PHASE_SCANNED, PHASE_FAILED);
	migrate_progress_widen(backfill->root);
	return ADVANCE_FAILED;
}

/* True where no write is deferred any more; else what to do in its stead. */
static bool
end_deferral(Advance *advance, AdvanceStatus *status)
{
	Backfill   *backfill = &advance->backfill;

	switch (try_to_end_deferral(backfill))
	{
		case DEFERRAL_OVER:
			return true;
		case DEFERRAL_HELD_UP:
			*status = fail(backfill);
			break;
		case DEFERRAL_BLOCKED:
			*status = wait_for_locks(advance, lock_on_table(backfill, AccessExclusiveLock),
									 PROOF_WAIT);
			break;
	}
	return false;
}

/* ---- proof and completion ---- */

static AdvanceStatus
prove(Advance *advance)
{
	Backfill   *backfill = &advance->backfill;
	AdvanceStatus status = ADVANCE_WORKED;

	if (migrate_deferral_is_held_up(backfill->root))
		return fail(backfill);
	if (!finish_indexes(advance, &status) || !finish_constraints(advance, &status) ||
		!end_deferral(advance, &status))
		return status;
	switch (try_to_prove(backfill))
	{
		case PROOF_FOUND:
			migrate_progress_set_phase(backfill->root, PHASE_SCANNED, PHASE_SETTLING);
			break;
		case PROOF_STOOD:
			migrate_progress_set_phase(backfill->root, PHASE_SCANNED, PHASE_SETTLING);
			migrate_complete_begin_settling(&advance->settling, backfill->root,
											advance->context);
			break;
		case PROOF_BROKEN:
			migrate_progress_start_over(backfill->root);
			migrate_backfill_hold(backfill, HELD_BY_STALE_ROW, PROOF_WAIT);
			return ADVANCE_WAITING;
		case PROOF_BLOCKED:
			return wait_for_locks(advance, lock_on_table(backfill, ShareUpdateExclusiveLock),
								  PROOF_WAIT);
	}
	return ADVANCE_WORKED;
}

static BackfillStatus
convert(Backfill *backfill)
{
	BackfillStatus status = migrate_backfill_step(backfill);

	if (backfill->failed > 0)
		migrate_lifecycle_sync_statistics(backfill->root);
	return status;
}

static AdvanceStatus
take_step(Advance *advance)
{
	Oid			root = advance->backfill.root;
	bool		paused;

	if (!migrate_pause_enter(root))
	{
		migrate_backfill_hold(&advance->backfill, HELD_BY_PAUSE, PAUSE_WAIT);
		return ADVANCE_WAITING;
	}
	if (!is_managed(root, &paused))
		return ADVANCE_DONE;
	if (paused)
	{
		migrate_backfill_hold(&advance->backfill, NULL, 0);
		return ADVANCE_PAUSED;
	}
	if (!advance->begun && !advance->backfill.only_helps)
		migrate_record_dependencies_upgraded(advance->backfill.root);
	advance->begun = true;
	if (advance->settling.begun)
	{
		migrate_pause_leave(root);
		return settle(advance);
	}
	if (!advance->backfill.only_helps)
		begin_indexes(advance);
	switch (convert(&advance->backfill))
	{
		case BACKFILL_NOTHING:
			return leave_indexes(advance);
		case BACKFILL_WORKED:
			return ADVANCE_WORKED;
		case BACKFILL_WAITING:
			return ADVANCE_WAITING;
		case BACKFILL_FAILED:
			return ADVANCE_FAILED;
		case BACKFILL_SCANNED:
			migrate_pause_leave(root);
			return prove(advance);
	}
	pg_unreachable();
}

AdvanceStatus
migrate_advance_step(Advance *advance)
{
	volatile AdvanceStatus status = ADVANCE_WAITING;
	RepOriginId before = migrate_origin_begin();

	PG_TRY();
	{
		status = take_step(advance);
	}
	PG_FINALLY();
	{
		migrate_origin_end(before);
	}
	PG_END_TRY();
	return status;
}
