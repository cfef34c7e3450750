/*
 * backfill/progress.c
 *		How far the backfill of each heap has come, as the catalog holds it.
 *
 * There is a row of migrate.backfill per heap: the managed table itself, or
 * each leaf of a partitioned one. It is written in the transaction that
 * converted the rows that it speaks of, so that after a crash, also one that
 * took back commits (synchronous_commit = off), both are as they were together;
 * and it is WAL-logged, so that a standby that is promoted goes on.
 *
 * A round reads the blocks [next_block, end_block). The first has the heap's
 * size when it began for its end (range.c says why that is enough); a later
 * one reads only the blocks in which the one before it left rows behind, since
 * a stale row version stays where it is. A round ends in one of the phases of
 * progress.h.
 *
 * Claims.  Who works on a heap holds its row locked (FOR UPDATE) for the batch;
 * others skip it. A statement that concerns all heaps of a table waits for their
 * rows: it locks them in the order of their OIDs first (migrate_progress_lock),
 * and nobody comes to it with a claim in hand. So there is no circle.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "backfill/progress.h"
#include "catalog/failure.h"
#include "catalog/store.h"

/* ---- heaps come and go ---- */

/* A table that was made to inherit from a managed one is not managed with it. */
static StoreArg
heap_array(Oid root)
{
	List	   *relids = get_rel_relkind(root) == RELKIND_PARTITIONED_TABLE
		? find_all_inheritors(root, NoLock, NULL) : list_make1_oid(root);
	Datum	   *elements = palloc(list_length(relids) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, relids)
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			elements[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return store_datum(OIDARRAYOID,
					   PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid),
													   true, TYPALIGN_INT)),
					   false);
}

void
migrate_progress_lock(Oid root)
{
	(void) migrate_store_fetch_list("SELECT relation::oid FROM migrate.backfill"
									" WHERE root = $1 ORDER BY relation FOR UPDATE",
									STORE_ARGS(store_relation(root)));
}

static bool
is_in_sync(Oid root, StoreArg heaps, int32 target)
{
	return migrate_store_fetch("SELECT 1 FROM unnest($2) AS heap"
							   " LEFT JOIN migrate.backfill b ON b.relation = heap"
							   " WHERE b.root IS DISTINCT FROM $1 OR b.target <> $3"
							   " UNION ALL"
							   " SELECT 1 FROM migrate.backfill"
							   " WHERE root = $1 AND relation <> ALL ($2) LIMIT 1",
							   STORE_ARGS(store_relation(root), heaps, store_int(target))) == NULL;
}

uint64
migrate_progress_sync(Oid root, int32 target)
{
	StoreArg	heaps = heap_array(root);

	if (is_in_sync(root, heaps, target))
		return 0;
	migrate_progress_lock(root);
	migrate_store_execute("DELETE FROM migrate.failure"
						  " WHERE relation IN (SELECT b.relation FROM migrate.backfill b"
						  " WHERE b.root = $1 AND b.relation <> ALL ($2))",
						  STORE_ARGS(store_relation(root), heaps));
	migrate_store_execute("DELETE FROM migrate.backfill"
						  " WHERE root = $1 AND relation <> ALL ($2)",
						  STORE_ARGS(store_relation(root), heaps));
	return migrate_store_execute("INSERT INTO migrate.backfill AS b (relation, root, target)"
								 " SELECT heap, $1, $3 FROM unnest($2) AS heap ORDER BY heap"
								 " ON CONFLICT (relation) DO UPDATE SET root = $1, target = $3,"
								 "  phase = '" PHASE_CONVERTING "', filenode = 0, round = 0,"
								 "  next_block = 0, blocks_ahead = 0, end_block = 0,"
								 "  left_from = NULL, left_to = NULL, skipped = 0, failed = 0,"
								 "  rows_converted = 0, rows_repaired = 0,"
								 "  rows_pruned = 0, rows_referenced = 0,"
								 "  rows_recent = 0, blocks_recent = 0,"
								 "  held_by = NULL, last_error = NULL,"
								 "  started_at = clock_timestamp(), updated_at = clock_timestamp()"
								 " WHERE b.target <> $3 OR b.root <> $1",
								 STORE_ARGS(store_relation(root), heaps, store_int(target)));
}

void
migrate_progress_drop(Oid heap)
{
	migrate_store_execute("DELETE FROM migrate.failure WHERE relation = $1",
						  STORE_ARGS(store_relation(heap)));
	migrate_store_execute("DELETE FROM migrate.backfill WHERE relation = $1",
						  STORE_ARGS(store_relation(heap)));
}

List *
migrate_progress_heaps(Oid root, const char *phase)
{
	List	   *heaps = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT relation::oid FROM migrate.backfill"
										 " WHERE root = $1 AND phase = $2 ORDER BY relation",
										 STORE_ARGS(store_relation(root), store_text(phase))))
		heaps = lappend_oid(heaps, atooid(lfirst(lc)));
	return heaps;
}

/* ---- one heap ---- */

static int64
to_int64(const char *text)
{
	return text ? strtoll(text, NULL, 10) : 0;
}

static bool
fetch_progress(Oid heap, const char *condition, Progress *progress)
{
	char	   *columns[9];
	char	   *sql = psprintf("SELECT filenode, round, next_block, end_block,"
							   " left_from, left_to, skipped, failed, blocks_ahead"
							   " FROM migrate.backfill WHERE relation = $1 %s", condition);

	if (!migrate_store_fetch_row(sql, STORE_ARGS(store_relation(heap)),
								 lengthof(columns), columns))
		return false;
	progress->heap = heap;
	progress->filenode = atooid(columns[0]);
	progress->round = (int) to_int64(columns[1]);
	progress->next_block = to_int64(columns[2]);
	progress->end_block = to_int64(columns[3]);
	progress->left_from = to_int64(columns[4]);
	progress->left_to = to_int64(columns[5]);
	progress->skipped = to_int64(columns[6]);
	progress->failed = to_int64(columns[7]);
	progress->ahead = to_int64(columns[8]);
	return true;
}

bool
migrate_progress_read(Oid heap, Progress *progress)
{
	return fetch_progress(heap, "", progress);
}

bool
migrate_progress_claim(Oid heap, const char *phase, Progress *progress)
{
	return fetch_progress(heap, psprintf("AND phase = '%s' FOR UPDATE SKIP LOCKED", phase),
						  progress);
}

static void
begin_first_round(Progress *progress, Relation heap)
{
	Oid			oid = progress->heap;

	memset(progress, 0, sizeof(Progress));
	progress->heap = oid;
	progress->filenode = heap->rd_rel->relfilenode;
	progress->round = 1;
	migrate_failure_displace(oid);
	progress->end_block = RelationGetNumberOfBlocks(heap);
	migrate_store_execute("UPDATE migrate.backfill SET filenode = $2, round = 1,"
						  " next_block = 0, blocks_ahead = 0, end_block = $3, blocks_total = $3,"
						  " left_from = NULL, left_to = NULL, skipped = 0, failed = 0,"
						  " round_started_at = clock_timestamp(), updated_at = clock_timestamp()"
						  " WHERE relation = $1",
						  STORE_ARGS(store_relation(oid),
									 store_oid(progress->filenode),
									 store_bigint(progress->end_block)));
}

/*
 * VACUUM FULL, CLUSTER and TRUNCATE, and what else gives a table another file,
 * leave nothing where it was. VACUUM may have given the tail back.
 */
void
migrate_progress_adjust(Progress *progress, Relation heap)
{
	if (progress->round == 0 || progress->filenode != heap->rd_rel->relfilenode)
		begin_first_round(progress, heap);
	progress->end_block = Min(progress->end_block, RelationGetNumberOfBlocks(heap));
	progress->next_block = Min(progress->next_block, progress->end_block);
}

/* ---- rounds ---- */

static const char *
phase_after(const Progress *progress, bool is_over)
{
	if (!is_over)
		return PHASE_CONVERTING;
	migrate_failure_forget_displaced(progress->heap);
	if (progress->skipped > 0)
		return PHASE_WAITING;
	if (progress->failed > 0)
		return PHASE_FAILED;
	return PHASE_SCANNED;
}

static void
note_left_behind(Progress *progress, const Left *left)
{
	progress->skipped += left->skipped;
	progress->failed += left->failed;
	if (left->from == left->to)
		return;
	if (progress->left_from == progress->left_to)
		progress->left_from = left->from;
	else
		progress->left_from = Min(progress->left_from, left->from);
	progress->left_to = Max(progress->left_to, left->to);
}

/*
 * What was done of late, for people to look at: a sum in which everything counts
 * the less the longer ago it was. Such sums of several heaps add up, whoever
 * works on them, and whether one after the other or at once (migrate.progress).
 */
#define RECENT(column, amount) \
	" " column " = migrate.fading(" column ", clock_timestamp() - recent_at) + " amount

const char *
migrate_progress_advance(Progress *progress, const Batch *batch, BlockNumber next, int64 ahead,
						 const Left *left, bool is_over)
{
	const char *phase;

	progress->next_block = next;
	progress->ahead = ahead;
	note_left_behind(progress, left);
	phase = phase_after(progress, is_over);
	migrate_store_execute("UPDATE migrate.backfill SET phase = $2,"
						  RECENT("blocks_recent",
							   "greatest($3 + $11 - next_block - blocks_ahead, 0)") ","
						  RECENT("rows_recent", "$9") ","
						  " recent_from = CASE WHEN migrate.fading(blocks_recent + rows_recent,"
						  "  clock_timestamp() - recent_at) > 0 THEN recent_from"
						  "  ELSE clock_timestamp() - interval '100 ms' END,"
						  " recent_at = clock_timestamp(),"
						  " next_block = $3, end_block = $4, left_from = $5, left_to = $6,"
						  " skipped = $7, failed = $8,"
						  " rows_converted = rows_converted + $9 - $13, rows_pruned = rows_pruned + $13,"
						  " rows_referenced = rows_referenced + $14,"
						  " rows_repaired = rows_repaired + $10, blocks_ahead = $11,"
						  " last_error = coalesce($12, last_error), updated_at = clock_timestamp()"
						  " WHERE relation = $1",
						  STORE_ARGS(store_relation(progress->heap), store_text(phase),
									 store_bigint(progress->next_block),
									 store_bigint(progress->end_block),
									 store_bigint(progress->left_from),
									 store_bigint(progress->left_to),
									 store_bigint(progress->skipped),
									 store_bigint(progress->failed),
									 store_bigint(batch->converted),
									 store_bigint(batch->repaired),
									 store_bigint(progress->ahead),
									 store_text(batch->last_error),
									 store_bigint(batch->pruned),
									 store_bigint(batch->referenced)));
	return phase;
}

#define NEXT_ROUND \
	" phase = '" PHASE_CONVERTING "', round = round + 1," \
	" next_block = coalesce(left_from, 0), blocks_ahead = 0," \
	" end_block = coalesce(left_to, 0)," \
	" left_from = NULL, left_to = NULL, skipped = 0, failed = 0," \
	" round_started_at = clock_timestamp()"

List *
migrate_progress_next_round(Oid root)
{
	List	   *heaps;

	migrate_progress_lock(root);
	heaps = migrate_progress_heaps(root, PHASE_WAITING);
	if (heaps != NIL)
		migrate_store_execute("UPDATE migrate.backfill SET" NEXT_ROUND
							  " WHERE root = $1 AND phase = '" PHASE_WAITING "'",
							  STORE_ARGS(store_relation(root)));
	return heaps;
}

int
migrate_progress_last_round(Oid root)
{
	char	   *round = migrate_store_fetch("SELECT max(round) FROM migrate.backfill WHERE root = $1",
											STORE_ARGS(store_relation(root)));

	return (int) to_int64(round);
}

/*
 * Rows whose writes were deferred count as left behind, wherever they are; in
 * blocks, too, that came after the round's end.
 */
#define BLOCK_OF(tid) "((" tid ")::text::point)[0]::bigint"

void
migrate_progress_widen(Oid root)
{
	migrate_store_execute("UPDATE migrate.backfill b SET"
						  " left_from = least(CASE WHEN b.left_from < b.left_to"
						  "  THEN b.left_from END, f.first),"
						  " left_to = greatest(b.left_to, f.last + 1),"
						  " next_block = greatest(b.next_block, f.last + 1),"
						  " end_block = greatest(b.end_block, f.last + 1)"
						  " FROM (SELECT relation, " BLOCK_OF("min(row_tid)") " AS first,"
						  "   " BLOCK_OF("max(row_tid)") " AS last"
						  "  FROM migrate.failure WHERE row_tid IS NOT NULL"
						  "  GROUP BY relation) f"
						  " WHERE b.root = $1 AND b.phase = '" PHASE_FAILED "'"
						  " AND f.relation = b.relation"
						  " AND (f.first < b.left_from OR f.last >= b.left_to"
						  "  OR b.left_from IS NOT DISTINCT FROM b.left_to)",
						  STORE_ARGS(store_relation(root)));
}

void
migrate_progress_retry(Oid root)
{
	migrate_progress_lock(root);
	migrate_progress_widen(root);
	migrate_store_execute("UPDATE migrate.backfill SET" NEXT_ROUND ", last_error = NULL"
						  " WHERE root = $1 AND phase = '" PHASE_FAILED "'",
						  STORE_ARGS(store_relation(root)));
}

/*
 * Of what failed nothing may be left: rows were mended or deleted where that is
 * noticed (write/deferred.c), or the heap has got another file. An index that
 * could not be built is another matter.
 */
uint64
migrate_progress_revive(Oid root)
{
	uint64		revived;

	revived = migrate_store_execute("UPDATE migrate.backfill b SET"
									" phase = '" PHASE_CONVERTING "', round = 0, last_error = NULL"
									" WHERE root = $1 AND phase = '" PHASE_FAILED "'"
									" AND filenode <> (SELECT relfilenode FROM pg_class c"
									"  WHERE c.oid = b.relation)",
									STORE_ARGS(store_relation(root)));
	if (revived > 0 || migrate_failure_any(root))
		return revived;
	return migrate_store_execute("UPDATE migrate.backfill SET" NEXT_ROUND ", last_error = NULL"
								 " WHERE root = $1 AND phase = '" PHASE_FAILED "'"
								 " AND NOT EXISTS (SELECT FROM migrate.declared_index"
								 "  WHERE relation = $1 AND error IS NOT NULL)",
								 STORE_ARGS(store_relation(root)));
}

void
migrate_progress_start_over(Oid root)
{
	migrate_progress_lock(root);
	migrate_store_execute("UPDATE migrate.backfill SET phase = '" PHASE_CONVERTING "',"
						  " round = 0, held_by = NULL WHERE root = $1",
						  STORE_ARGS(store_relation(root)));
}

/* ---- a managed table's heaps together ---- */

void
migrate_progress_set_phase(Oid root, const char *from, const char *to)
{
	migrate_progress_lock(root);
	migrate_store_execute("UPDATE migrate.backfill SET phase = $3, held_by = NULL,"
						  " updated_at = clock_timestamp() WHERE root = $1 AND phase = $2",
						  STORE_ARGS(store_relation(root), store_text(from), store_text(to)));
}

/* For people to look at, and said with claims in hand: what others hold is left as it is. */
void
migrate_progress_set_held_by(Oid root, const char *held_by)
{
	migrate_store_execute("UPDATE migrate.backfill SET held_by = $2 WHERE relation IN"
						  " (SELECT relation FROM migrate.backfill"
						  "  WHERE root = $1 AND held_by IS DISTINCT FROM $2"
						  "  FOR UPDATE SKIP LOCKED)",
						  STORE_ARGS(store_relation(root), store_text(held_by)));
}

void
migrate_progress_forget(Oid root, int32 target)
{
	migrate_progress_lock(root);
	migrate_store_execute("DELETE FROM migrate.backfill WHERE root = $1 AND target <= $2",
						  STORE_ARGS(store_relation(root), store_int(target)));
}
