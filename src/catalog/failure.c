/*
 * catalog/failure.c
 *		Rows that could not be converted, as migrate.failure holds them.
 *
 * Who records that a row fails, or forgets it, has the row locked to the end of
 * the transaction: a writer, whose change of the row that is, and the backfill,
 * which takes the lock (backfill/attempt.c). So two that speak of one row take
 * turns at the row, before they come here, and what is recorded is true when
 * it is committed. Rows in which a constraint of the new form is broken
 * (lifecycle/constraint_finish.c) have no place here, and are looked for again
 * each time.
 *
 * Where a row is (row_tid) is the address of the version that failed. A failing
 * row stays there as long as nobody writes it, and whoever does records or
 * forgets it, so it is also where to look for the row again. When the heap has
 * got another file nothing is where it was: the addresses go, and are learnt
 * again as the heap is read from its beginning.
 *
 * The backfill waits for nobody: it passes over records that others have locked.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"

#include "catalog/failure.h"
#include "catalog/store.h"

static StoreArg
store_tid(ItemPointer tid)
{
	return store_datum(TIDOID, PointerGetDatum(tid), tid == NULL);
}

void
migrate_failure_record(Oid heap, const char *migration, const char *key,
					   ItemPointer tid, int sqlerrcode, const char *message)
{
	migrate_store_execute("INSERT INTO migrate.failure AS f"
								 " (relation, migration, row_key, row_tid, sqlstate, message)"
								 " VALUES ($1, $2, $3::jsonb, $4, $5, $6)"
								 " ON CONFLICT (relation, migration, row_key) DO UPDATE"
								 " SET row_tid = $4, sqlstate = $5, message = $6,"
								 "  attempts = f.attempts + 1, recorded_by = pg_current_xact_id()",
								 STORE_ARGS(store_relation(heap), store_text(migration),
											store_text(key), store_tid(tid),
											store_text(unpack_sql_state(sqlerrcode)),
											store_text(message)));
}

static StoreArg
store_tid_array(List *tids)
{
	Datum	   *elements = palloc(list_length(tids) * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, tids)
		elements[foreach_current_index(lc)] = PointerGetDatum(lfirst(lc));
	return store_datum(TIDARRAYOID,
					   PointerGetDatum(construct_array(elements, list_length(tids), TIDOID,
													   sizeof(ItemPointerData), false,
													   TYPALIGN_SHORT)), false);
}

/* Keys of different rows may look the same, where the output of a type says too little. */
void
migrate_failure_record_all(Oid heap, List *rows)
{
	List	   *migrations = NIL;
	List	   *keys = NIL;
	List	   *tids = NIL;
	List	   *codes = NIL;
	List	   *messages = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		FailedRow  *row = lfirst(lc);

		migrations = lappend(migrations, unconstify(char *, row->migration));
		keys = lappend(keys, unconstify(char *, row->key));
		tids = lappend(tids, &row->tid);
		codes = lappend(codes, pstrdup(unpack_sql_state(row->sqlerrcode)));
		messages = lappend(messages, unconstify(char *, row->message));
	}
	migrate_store_execute("INSERT INTO migrate.failure AS f"
						  " (relation, migration, row_key, row_tid, sqlstate, message)"
						  " SELECT DISTINCT ON (r.migration, r.key::jsonb)"
						  "  $1, r.migration, r.key::jsonb, r.tid, r.sqlstate, r.message"
						  " FROM unnest($2, $3, $4, $5, $6)"
						  "  AS r (migration, key, tid, sqlstate, message)"
						  " ON CONFLICT (relation, migration, row_key) DO UPDATE"
						  " SET row_tid = excluded.row_tid, sqlstate = excluded.sqlstate,"
						  "  message = excluded.message,"
						  "  attempts = f.attempts + 1, recorded_by = pg_current_xact_id()",
						  STORE_ARGS(store_relation(heap), store_text_array(migrations),
									 store_text_array(keys), store_tid_array(tids),
									 store_text_array(codes), store_text_array(messages)));
}

void
migrate_failure_forget(Oid heap, ItemPointer tid)
{
	migrate_store_execute("DELETE FROM migrate.failure"
								 " WHERE relation = $1 AND row_tid = $2",
								 STORE_ARGS(store_relation(heap), store_tid(tid)));
}

/* ---- the backfill ---- */

/*
 * A snapshot does not list the transaction that takes it, and what that records is
 * recorded after it. So it is added to those in progress, where it would pass for
 * one that has ended.
 */
char *
migrate_failure_snapshot(void)
{
	return migrate_store_fetch("SELECT format('%s:%s:%s', pg_snapshot_xmin(s), pg_snapshot_xmax(s),"
							   "  (SELECT string_agg(x::text, ',' ORDER BY x)"
							   "   FROM (SELECT pg_snapshot_xip(s) UNION SELECT own"
							   "    WHERE own < pg_snapshot_xmax(s)) AS running (x)))"
							   " FROM pg_current_snapshot() s, pg_current_xact_id() own",
							   STORE_NO_ARGS);
}

/*
 * Who was recorded in that snapshot was there, or had gone, when the blocks were
 * read after it. Had somebody changed the row since, he has recorded or forgotten
 * it himself.
 */
void
migrate_failure_forget_tried(Oid heap, BlockNumber from, BlockNumber to, const char *before,
							 List *failed)
{
	ItemPointerData first;
	ItemPointerData end;

	ItemPointerSet(&first, from, 0);
	ItemPointerSet(&end, to, 0);
	migrate_store_execute("DELETE FROM migrate.failure"
						  " WHERE ctid IN (SELECT ctid FROM migrate.failure"
						  "  WHERE relation = $1 AND row_tid >= $2 AND row_tid < $3"
						  "  AND recorded_by <> pg_current_xact_id()"
						  "  AND pg_visible_in_snapshot(recorded_by, $4::pg_snapshot)"
						  "  AND row_tid <> ALL ($5)"
						  "  FOR UPDATE SKIP LOCKED)",
						  STORE_ARGS(store_relation(heap), store_tid(&first),
									 store_tid(&end), store_text(before),
									 store_tid_array(failed)));
}

/*
 * Who was recorded in the snapshot had a block then, and none is given back while the heap
 * is held.
 */
void
migrate_failure_forget_truncated(Relation heap)
{
	char	   *before = migrate_failure_snapshot();

	migrate_failure_forget_tried(RelationGetRelid(heap), RelationGetNumberOfBlocks(heap),
								 InvalidBlockNumber, before, NIL);
	pfree(before);
}

void
migrate_failure_displace(Oid heap)
{
	migrate_store_execute("UPDATE migrate.failure SET row_tid = NULL"
						  " WHERE ctid IN (SELECT ctid FROM migrate.failure"
						  "  WHERE relation = $1 AND row_tid IS NOT NULL"
						  "  FOR UPDATE SKIP LOCKED)",
						  STORE_ARGS(store_relation(heap)));
}

/* What was found since the round began, in the building of an index for one, stays. */
void
migrate_failure_forget_displaced(Oid heap)
{
	migrate_store_execute("DELETE FROM migrate.failure"
						  " WHERE ctid IN (SELECT f.ctid FROM migrate.failure f"
						  "  JOIN migrate.backfill b USING (relation)"
						  "  WHERE f.relation = $1 AND f.row_tid IS NULL"
						  "  AND f.first_seen < b.round_started_at"
						  "  FOR UPDATE OF f SKIP LOCKED)",
						  STORE_ARGS(store_relation(heap)));
}

bool
migrate_failure_any(Oid root)
{
	return migrate_store_fetch("SELECT 1 FROM migrate.failure WHERE relation = $1"
							   "  OR relation IN (SELECT relation FROM migrate.backfill"
							   "   WHERE root = $1) LIMIT 1",
							   STORE_ARGS(store_relation(root))) != NULL;
}
