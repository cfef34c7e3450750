/*
 * guard/contract_gate.c
 *		May a migration be contracted? All reasons against it, not the first.
 *
 * A check is a row of the table at the end of this file: its name, and a
 * function that looks and says what stands in the way and what to type about
 * it. Checks only look. They take no lock that blocks anyone, so that
 * migrate.check_contract() can be asked at any time; lifecycle/contract.c runs
 * them again under its lock.
 *
 * What is against it, by name:
 *
 *	state		the migration is not complete
 *	rows		the proof is missing, or rows failed to convert
 *	constraints	constraints on the new columns are not validated yet
 *	dependents	other migrations still use what would be dropped
 *	objects		views, indexes, functions ... use it
 *	window		its deprecation window is not open, or not for long enough
 *	usage		somebody has used it of late
 *	releases	a release that does not know it is not retired
 *	snapshots	somebody may still look at the table as it was before
 *
 * Some have something to add that nobody can decide by looking: a note, for who
 * asks what stands in the way, not for the contract.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"

#include "catalog/names.h"
#include "catalog/sessions.h"
#include "catalog/store.h"
#include "compat.h"
#include "guard/contract_gate.h"
#include "guard/dependent_objects.h"
#include "guard/old_snapshots.h"
#include "guard/replication.h"
#include "guard/usage_check.h"

/* ---- putting findings into words ---- */

static void
fail(GateFinding *finding, char *detail, char *hint)
{
	finding->ok = false;
	finding->detail = detail;
	finding->hint = hint;
}

/* To be known besides, whether the check holds or not. */
static void
note(GateFinding *finding, const char *detail, const char *hint)
{
	finding->detail = finding->detail == NULL ? pstrdup(detail)
		: psprintf("%s %s", finding->detail, detail);
	finding->hint = finding->hint == NULL ? pstrdup(hint)
		: psprintf("%s %s", finding->hint, hint);
}

static char *
join(List *strings, const char *separator)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, strings)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? separator : "", (char *) lfirst(lc));
	return buf.data;
}

static char *
call_sql(const char *function, const char *argument)
{
	return psprintf("SELECT migrate.%s(%s)", function, quote_literal_cstr(argument));
}

/* ---- what is at stake ---- */

/*
 * Where another live migration removes the same column, it is left for that
 * one to drop: else neither could be contracted, since each of them reads it.
 */
List *
migrate_gate_columns_to_drop(const Migration *migration)
{
	List	   *live = migrate_migration_load_live(migration->relid);
	List	   *columns = NIL;
	ListCell   *column;
	ListCell   *lc;

	foreach(column, migration->remove)
	{
		bool		is_left = false;

		foreach(lc, live)
		{
			Migration  *other = lfirst(lc);

			if (strcmp(other->name, migration->name) != 0 &&
				migrate_names_contain(other->remove, lfirst(column)))
				is_left = true;
		}
		if (!is_left)
			columns = lappend(columns, lfirst(column));
	}
	return columns;
}

/* ---- the checks ---- */

/* How far the backfill has come, and what holds it. */
static char *
backfill_state(const Migration *migration)
{
	return migrate_store_fetch("SELECT format('the backfill has gone through %s %% of the table%s',"
							   " floor(percent), ', and is held by ' || throttled_by)"
							   " FROM migrate.progress WHERE migration = $1",
							   STORE_ARGS(store_text(migration->name)));
}

static void
check_state(const Migration *migration, GateFinding *finding)
{
	const char *state = migrate_migration_state_name(migration->state);
	char	   *backfill;

	switch (migration->state)
	{
		case MIGRATION_COMPLETE:
			break;
		case MIGRATION_EXPANDED:
			backfill = backfill_state(migration);
			fail(finding,
				 psprintf("The migration is %s, not complete: %s.", state,
						  backfill ? backfill : "the backfill has not begun"),
				 psprintf("Wait for it: %s", call_sql("wait", migration->name)));
			break;
		case MIGRATION_CONTRACTED:
			finding->detail = "The migration is contracted already.";
			break;
		default:
			fail(finding, psprintf("The migration is %s, not complete.", state),
				 psprintf("Expand it first: %s", call_sql("expand", migration->name)));
	}
}

/*
 * The proof: a validated CHECK by which the server itself vouches for every
 * row. Its text is compared too, should a superuser have put another in place.
 */
static char *
proof_state(const Migration *migration, const char *proof, const char *text)
{
	return migrate_store_fetch("SELECT CASE WHEN c.oid IS NULL THEN 'missing'"
							   " WHEN pg_get_expr(c.conbin, c.conrelid) <> p.text THEN 'altered'"
							   " WHEN NOT c.convalidated THEN 'not validated' END"
							   " FROM (SELECT $1 AS relation, $2::name AS conname, $3::text AS text) p"
							   " LEFT JOIN pg_constraint c ON c.conrelid = p.relation"
							   "  AND c.conname = p.conname AND c.contype = 'c'",
							   STORE_ARGS(store_relation(migration->relid), store_name(proof),
										  store_text(text)));
}

static void
check_rows(const Migration *migration, GateFinding *finding)
{
	char	   *failures;
	char	   *column;
	char	   *proof;
	char	   *state;

	if (!migrate_migration_is_live(migration))
		return;
	failures = migrate_store_fetch("SELECT count(*) FROM migrate.failure"
								   " WHERE migration = $1 HAVING count(*) > 0",
								   STORE_ARGS(store_text(migration->name)));
	column = migrate_migration_version_column(migration->relid);
	proof = migrate_migration_proof_name(column, migration->version);
	state = proof_state(migration, proof, migrate_migration_proof_text(migration, column));
	if (failures != NULL)
		fail(finding,
			 psprintf("Rows that could not be converted: %s.", failures),
			 psprintf("migrate.failures names them; correct them, then: SELECT migrate.retry(%s)",
					  quote_literal_cstr(migrate_store_relation_sql(migration->relid))));
	else if (state != NULL)
		fail(finding,
			 psprintf("There is no proof that no stale row is left: constraint \"%s\" is %s.",
					  proof, state),
			 psprintf("The backfill validates it when all rows are converted: %s",
					  call_sql("wait", migration->name)));
}

/* The proof of a newer migration whose "needed" reads a new column is that one's business. */
#define UNVALIDATED \
	" FROM pg_constraint c" \
	" WHERE (c.conrelid = $1 OR c.conrelid IN (SELECT relid FROM pg_partition_tree($1)))" \
	" AND NOT c.convalidated AND " COMPAT_IS_ENFORCED("c") " AND c.coninhcount = 0 AND c.conparentid = 0" \
	" AND EXISTS (SELECT 1 FROM migrate.added_column n, pg_attribute a" \
	"  WHERE n.migration = $2 AND a.attrelid = c.conrelid AND a.attname = n.name" \
	"  AND a.attnum = ANY (c.conkey))" \
	" AND NOT EXISTS (SELECT 1 FROM migrate.migration o JOIN migrate.managed t USING (relation)" \
	"  WHERE o.relation = $1 AND o.name <> $2" \
	"  AND c.conname = t.version_column || '_' || o.version)"

static void
check_constraints(const Migration *migration, GateFinding *finding)
{
	char	   *names;
	char	   *statements;

	if (!migrate_migration_is_live(migration))
		return;
	names = migrate_store_fetch("SELECT string_agg(format('%I of table %s', c.conname,"
								" c.conrelid::regclass), ', ' ORDER BY c.conname)" UNVALIDATED,
								STORE_ARGS(store_relation(migration->relid),
										   store_text(migration->name)));
	if (names == NULL)
		return;
	statements = migrate_store_fetch("SELECT string_agg(format('ALTER TABLE %s VALIDATE CONSTRAINT %I',"
									 " c.conrelid::regclass, c.conname), '; ' ORDER BY c.conname)" UNVALIDATED,
									 STORE_ARGS(store_relation(migration->relid),
												store_text(migration->name)));
	fail(finding, psprintf("Constraints on the new columns are not validated: %s.", names),
		 statements);
}

/*
 * Live migrations of the table that read or assign what would be dropped,
 * whatever their order; and defined ones that were declared to come after this
 * one. One that was rolled back does not count: it may never come again.
 */
#define USERS \
	" FROM migrate.migration o, LATERAL (" \
	"  SELECT u.name FROM unnest(o.inputs) u (name)" \
	"  UNION SELECT a.target FROM migrate.assignment a WHERE a.migration = o.name" \
	"  UNION SELECT n.name FROM migrate.added_column n WHERE n.migration = o.name) used" \
	" WHERE o.relation = $1 AND o.name <> $2 AND used.name = ANY ($3)" \
	" AND (o.state IN ('expanded', 'complete')" \
	"  OR o.state = 'defined' AND $2 = ANY (o.depends_on))"

static List *
columns_to_rename(const Migration *migration)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, migration->added)
		if (((AddedColumn *) lfirst(lc))->rename_to != NULL)
			columns = lappend(columns, ((AddedColumn *) lfirst(lc))->name);
	return columns;
}

/* An old column that is left for another migration to drop keeps its name. */
static void
check_names_free(const Migration *migration, GateFinding *finding)
{
	List	   *dropped = migrate_gate_columns_to_drop(migration);
	ListCell   *lc;

	foreach(lc, migration->added)
	{
		char	   *name = ((AddedColumn *) lfirst(lc))->rename_to;

		if (name != NULL && !migrate_names_contain(dropped, name))
			fail(finding,
				 psprintf("Another live migration removes column \"%s\" too, so its name is not free.", name),
				 "Contract that one first, or roll it back.");
	}
}

static void
check_dependents(const Migration *migration, GateFinding *finding)
{
	List	   *renamed = columns_to_rename(migration);
	StoreArg	args[3];
	char	   *users;
	char	   *calls;

	args[0] = store_relation(migration->relid);
	args[1] = store_text(migration->name);
	args[2] = store_name_array(list_concat(migrate_gate_columns_to_drop(migration),
									  renamed));
	users = migrate_store_fetch("SELECT string_agg(format('migration \"%s\" (%s) uses column \"%s\"',"
								" o.name, o.state, used.name), ', ' ORDER BY o.seq, used.name)" USERS,
								lengthof(args), args);
	if (users == NULL)
	{
		check_names_free(migration, finding);
		return;
	}
	calls = migrate_store_fetch("SELECT string_agg(call, '; ' ORDER BY seq) FROM (SELECT DISTINCT o.seq,"
								" CASE o.state WHEN 'defined' THEN format('SELECT migrate.expand(%L)', o.name)"
								" ELSE format('SELECT migrate.contract(%L)', o.name) END AS call" USERS ") calls",
								lengthof(args), args);
	fail(finding, psprintf("What would be %s is in use: %s.",
						   renamed != NIL ? "dropped or renamed" : "dropped", users),
		 psprintf("Finish those or roll them back first: %s", calls));
}

static void
check_objects(const Migration *migration, GateFinding *finding)
{
	List	   *columns = migrate_gate_columns_to_drop(migration);
	char	   *proof = NULL;
	List	   *objects;
	List	   *words = NIL;
	List	   *remedies = NIL;
	ListCell   *lc;

	/* It goes first, and where "needed" reads what is removed it names that. */
	if (migrate_migration_is_live(migration))
		proof = migrate_migration_proof_name(migrate_migration_version_column(migration->relid),
											 migration->version);
	objects = migrate_objects_using(migration->relid, columns, true, proof);

	if (objects == NIL)
		return;
	foreach(lc, objects)
	{
		DependentObject *object = lfirst(lc);

		words = lappend(words, object->words);
		remedies = lappend(remedies, object->remedy);
	}
	fail(finding,
		 psprintf("What would be dropped is in use by: %s.", join(words, ", ")),
		 psprintf("Change them to use the new columns, or: %s", join(remedies, "; ")));
}

/* Nobody can tell whether these use it. */
static void
note_objects(const Migration *migration, GateFinding *finding)
{
	List	   *columns = migrate_gate_columns_to_drop(migration);
	char	   *functions = columns != NIL
		? migrate_objects_naming(migration->relid, columns) : NULL;

	if (functions != NULL)
		note(finding,
			 psprintf("Not tracked by the server, but the names are in the text of: %s.", functions),
			 "Look at those functions: what still uses the old columns will fail.");
}

/*
 * What is sent to subscribers, and what a publisher still sends, is decided there. Who
 * contracts first has to be the one that sends.
 */
static void
note_replication(const Migration *migration, GateFinding *finding)
{
	char	   *publications = migrate_replication_publications(migration->relid);
	char	   *subscriptions = migrate_replication_subscriptions(migration->relid);

	if (publications != NULL)
		note(finding, psprintf("Rows are sent to the subscribers of publication %s.", publications),
			 "Contract here before it is done there: a subscriber that has dropped what is sent stops.");
	if (subscriptions != NULL)
		note(finding, psprintf("Rows come by subscription %s.", subscriptions),
			 "Contract on the publisher first, and let the subscription catch up with that.");
}

static void
note_objects_and_replication(const Migration *migration, GateFinding *finding)
{
	note_objects(migration, finding);
	if (migrate_gate_columns_to_drop(migration) != NIL)
		note_replication(migration, finding);
}

#define LACKING \
	" FROM migrate.releases r WHERE r.retired_at IS NULL AND NOT $1 = ANY (r.migrations)"

#define PINNED_TO_IT \
	" FROM migrate.pinned_sessions() p LEFT JOIN pg_stat_activity a ON a.pid = p.pid" \
	" WHERE p.release = r.name"

/* Clients of a release that lacks it speak the old form, whether they are here or not. */
static void
check_releases(const Migration *migration, GateFinding *finding)
{
	char	   *columns[2];

	if (!migrate_migration_is_live(migration))
		return;
	pgstat_clear_snapshot();
	if (!migrate_store_fetch_row("SELECT string_agg(format('\"%s\"%s', r.name,"
								 "  (SELECT ' (pinned by ' || string_agg(" SESSION_IN_WORDS("p.pid", "$2")
								 ", ', ' ORDER BY p.pid) || ')'" PINNED_TO_IT ")), ', '),"
								 " string_agg(coalesce((SELECT string_agg(format("
								 "   'SELECT pg_terminate_backend(%s)', p.pid), '; ' ORDER BY p.pid) || '; '"
								 PINNED_TO_IT "), '') || format('SELECT migrate.retire_release(%L)', r.name), '; ')"
								 LACKING,
								 STORE_ARGS(store_text(migration->name), store_oid(GetUserId())),
								 lengthof(columns), columns) ||
		columns[0] == NULL)
		return;
	fail(finding, psprintf("Releases that do not know it are not retired: %s.", columns[0]),
		 psprintf("When no client speaks them any more: %s", columns[1]));
}

static void
check_snapshots(const Migration *migration, GateFinding *finding)
{
	char	   *hint;
	char	   *older;

	if (!migrate_migration_is_live(migration))
		return;
	older = migrate_snapshots_older(migration, &hint);
	if (older == NULL)
		return;
	fail(finding, psprintf("These must end first: %s.", older),
		 psprintf("Wait for them (migrate.contract does, if given a wait), or: %s", hint));
	finding->may_pass = true;
}

static void
note_snapshots(const Migration *migration, GateFinding *finding)
{
	char	   *unknown = migrate_snapshots_unknown();

	if (unknown != NULL)
		note(finding,
			 psprintf("Not known here, for lack of hot_standby_feedback, is what is read on: %s.", unknown),
			 "See to it that no transaction there is older than the completion.");
}

/* ---- all of them ---- */

typedef struct GateCheck
{
	const char *name;
	void		(*look) (const Migration *migration, GateFinding *finding);
	void		(*add_note) (const Migration *migration, GateFinding *finding);
} GateCheck;

static const GateCheck checks[] = {
	{"state", check_state},
	{"rows", check_rows},
	{"constraints", check_constraints},
	{"dependents", check_dependents},
	{"objects", check_objects, note_objects_and_replication},
	{"window", migrate_usage_check_window},
	{"usage", migrate_usage_check_uses},
	{"releases", check_releases},
	{"snapshots", check_snapshots, note_snapshots},
};

List *
migrate_gate_run(const Migration *migration, List *skip, bool with_notes)
{
	bool		over = migration->state == MIGRATION_CONTRACTED;
	List	   *findings = NIL;

	for (int i = 0; i < lengthof(checks); i++)
	{
		GateFinding *finding;

		if (migrate_names_contain(skip, checks[i].name))
			continue;
		finding = palloc0(sizeof(GateFinding));
		finding->check = checks[i].name;
		finding->ok = true;
		if (!over || checks[i].look == check_state)
			checks[i].look(migration, finding);
		if (with_notes && checks[i].add_note != NULL && migrate_migration_is_live(migration))
			checks[i].add_note(migration, finding);
		findings = lappend(findings, finding);
	}
	return findings;
}
