/*
 * backfill/throttle_query.c
 *		Asking migrate.throttle_query whether to go on.
 *
 * Rights: only a superuser sets it, but what a query reads may call anybody's
 * functions. So it runs as the owner of the table that is converted, in a
 * security-restricted operation and with a fixed search_path, like all else
 * that the backfill evaluates. Where it has to see more, it can call a SECURITY
 * DEFINER function that the superuser has made for it.
 *
 * It runs in a subtransaction that may only read, and hardly waits for locks.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/throttle_query.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "guc.h"

#define LONGEST_LOCK_WAIT	"10ms"

/* The same failure is logged again after this long. */
#define WARNING_INTERVAL	60000	/* milliseconds */

volatile sig_atomic_t migrate_throttle_query_is_running = false;

typedef struct Question
{
	Oid			owner;
	bool		holds;
} Question;

bool
migrate_throttle_query_is_set(void)
{
	return migrate_guc_throttle_query != NULL && migrate_guc_throttle_query[0] != '\0';
}

/* True, or a number above zero. */
static bool
is_positive(char *answer)
{
	if (answer == NULL || strcmp(answer, "f") == 0)
		return false;
	if (strcmp(answer, "t") == 0)
		return true;
	return DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(answer))) > 0;
}

static void
run_query(Question *question)
{
	if (SPI_execute(migrate_guc_throttle_query, true, 1) != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("migrate.throttle_query is not a SELECT")));
	question->holds = SPI_processed > 0 &&
		is_positive(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

static void
ask(void *context)
{
	Question   *question = context;
	StoreIdentity self;

	XactReadOnly = true;		/* until the subtransaction ends */
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	migrate_store_become_restricted(&self, question->owner);
	(void) set_config_option("lock_timeout", LONGEST_LOCK_WAIT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	run_query(question);
	migrate_store_become_self(&self);
	SPI_finish();
	PopActiveSnapshot();
}

static ErrorData *
ask_interruptibly(Question *question)
{
	ErrorData  *volatile error = NULL;

	migrate_throttle_query_is_running = true;
	PG_TRY();
	{
		error = migrate_try(ask, question);
	}
	PG_FINALLY();
	{
		migrate_throttle_query_is_running = false;
	}
	PG_END_TRY();
	return error;
}

static void
warn(const ErrorData *error)
{
	static TimestampTz warned_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (warned_at != 0 && !TimestampDifferenceExceeds(warned_at, now, WARNING_INTERVAL))
		return;
	warned_at = now;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("migrate.throttle_query failed: %s", error->message),
			 errdetail("No rows are converted while it does."),
			 errhint("It runs as the owner of the table, read-only, and with only pg_catalog in the search_path.")));
}

void
migrate_throttle_query_ask(Oid root, bool *holds, bool *failed)
{
	Question	question = {migrate_store_relation_owner(root), false};
	ErrorData  *error = ask_interruptibly(&question);

	if (error != NULL && migrate_try_is_about_server(error))
		ReThrowError(error);
	*holds = question.holds;
	*failed = error != NULL;
	if (error == NULL)
		return;
	warn(error);
	FreeErrorData(error);
}
