/*
 * backfill/progress.c
 *		How far the backfill of each part of a heap has come, as the catalog holds it.
 *
 * There is a row of migrate.backfill per heap, the managed table itself or
 * each leaf of a partitioned one; or several, where a heap was divided into parts for
 * several sessions (part.c). A part is known by its first block, which stays. It
 * begins and ends its rounds by itself, as if it were a heap; a
 * heap that starts over does so as one part. The row is written in the transaction that
 * converted the rows that it speaks of, so that after a crash, also one that
 * took back commits (synchronous_commit = off), both are as they were together;
 * and it is WAL-logged, so that a standby that is promoted goes on.
 *
 * A round reads the blocks [next_block, end_block). The first has the heap's
 * size when it began for its end (pump.c says why that is enough), or the beginning of
 * the part that was divided off; a later
 * one reads only the blocks in which the one before it left rows behind, since
 * a stale row version stays where it is. A round ends in one of the phases of
 * progress.h.
 *
 * Claims.  Who works on a part holds its row locked (FOR UPDATE) for the batch;
 * others skip it. A statement that concerns all parts of a table waits for their
 * rows: it locks them in their order first (migrate_progress_lock), and nobody comes to it
 * with a claim in hand. Who comes with one does not wait (migrate_progress_join).
 * So there is no circle. Rows are added by who has a claim, so there are none but those
 * that were locked when all of them are, which may take a second look.
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
	int			locked = -1;
	int			before;

	do
	{
		before = locked;
		locked = list_length(migrate_store_fetch_list("SELECT relation::oid FROM migrate.backfill"
													  " WHERE root = $1"
													  " ORDER BY relation, first_block FOR UPDATE",
													  STORE_ARGS(store_relation(root))));
	} while (locked != before && locked > 0);
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
	migrate_store_execute("DELETE FROM migrate.backfill WHERE relation = ANY ($2)"
						  " AND first_block > 0 AND (root <> $1 OR target <> $3)",
						  STORE_ARGS(store_relation(root), heaps, store_int(target)));
	return migrate_store_execute("INSERT INTO migrate.backfill AS b (relation, root, target)"
								 " SELECT heap, $1, $3 FROM unnest($2) AS heap ORDER BY heap"
								 " ON CONFLICT (relation, first_block) DO UPDATE SET root = $1, target = $3,"
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

static int64
to_int64(const char *text)
{
	return text ? strtoll(text, NULL, 10) : 0;
}

List *
migrate_progress_parts(Oid root, const char *phase)
{
	List	   *parts = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_rows("SELECT relation::oid, first_block FROM migrate.backfill"
										 " WHERE root = $1 AND phase = $2"
										 " ORDER BY relation, first_block",
										 STORE_ARGS(store_relation(root), store_text(phase)), 2))
	{
		char	  **columns = lfirst(lc);
		Part	   *part = palloc(sizeof(Part));

		part->heap = atooid(columns[0]);
		part->first = (BlockNumber) to_int64(columns[1]);
		parts = lappend(parts, part);
	}
	return parts;
}

/* ---- one part ---- */

#define THE_PART	" WHERE relation = $1 AND first_block = $2"
#define PART_ARGS(part)	store_relation((part)->heap), store_bigint((part)->first)

static bool
fetch_progress(const Part *part, const char *condition, Progress *progress)
{
	char	   *columns[9];
	char	   *sql = psprintf("SELECT filenode, round, next_block, end_block,"
							   " left_from, left_to, skipped, failed, blocks_ahead"
							   " FROM migrate.backfill" THE_PART " %s", condition);

	if (!migrate_store_fetch_row(sql, STORE_ARGS(PART_ARGS(part)),
								 lengthof(columns), columns))
		return false;
	progress->part = *part;
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
migrate_progress_read(const Part *part, Progress *progress)
{
	return fetch_progress(part, "", progress);
}

bool
migrate_progress_claim(const Part *part, const char *phase, Progress *progress)
{
	return fetch_progress(part, psprintf("AND phase = '%s' FOR UPDATE SKIP LOCKED", phase),
						  progress);
}

static void
begin_first_round(Progress *progress, Relation heap)
{
	Oid			oid = progress->part.heap;

	Assert(progress->part.first == 0);
	memset(progress, 0, sizeof(Progress));
	progress->part.heap = oid;
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
 * leave nothing where it was.
 */
bool
migrate_progress_starts(const Progress *progress, Relation heap)
{
	return progress->round == 0 || progress->filenode != heap->rd_rel->relfilenode;
}

/*
 * Whoever else is at the heap will find that his part starts, too, and leave it soon. Nor
 * does he divide it: who saw the heap as it was has ended, since what has it start over
 * waited for his lock on the heap, or on the part's row. So the parts that are counted are
 * all there are, and when we have them all nobody else is at one.
 *
 * The first part takes what was counted of the others.
 */
JoinResult
migrate_progress_join(Oid heap)
{
	char	   *counts[2];

	(void) migrate_store_fetch_row("SELECT (SELECT count(*) FROM migrate.backfill"
								   "  WHERE relation = $1), count(*)"
								   " FROM (SELECT FROM migrate.backfill"
								   "  WHERE relation = $1 FOR UPDATE SKIP LOCKED) locked",
								   STORE_ARGS(store_relation(heap)), lengthof(counts), counts);
	if (to_int64(counts[0]) <= 1)
		return JOIN_ONE;
	if (to_int64(counts[1]) != to_int64(counts[0]))
		return JOIN_BLOCKED;
	migrate_store_execute("WITH others AS (DELETE FROM migrate.backfill"
						  "  WHERE relation = $1 AND first_block > 0"
						  "  RETURNING rows_converted, rows_repaired, rows_pruned, rows_referenced)"
						  " UPDATE migrate.backfill SET phase = '" PHASE_CONVERTING "',"
						  "  round = 0, last_error = NULL,"
						  "  rows_converted = rows_converted"
						  "   + (SELECT sum(o.rows_converted) FROM others o),"
						  "  rows_pruned = rows_pruned"
						  "   + (SELECT sum(o.rows_pruned) FROM others o),"
						  "  rows_referenced = rows_referenced"
						  "   + (SELECT sum(o.rows_referenced) FROM others o),"
						  "  rows_repaired = rows_repaired"
						  "   + (SELECT sum(o.rows_repaired) FROM others o)"
						  " WHERE relation = $1 AND first_block = 0",
						  STORE_ARGS(store_relation(heap)));
	return JOIN_DONE;
}

/*
 * VACUUM may have given the tail back. Rows in it that had failed are gone, and no window
 * will come by there to find that out.
 */
void
migrate_progress_adjust(Progress *progress, Relation heap)
{
	BlockNumber nblocks;

	if (migrate_progress_starts(progress, heap))
		begin_first_round(progress, heap);
	nblocks = RelationGetNumberOfBlocks(heap);
	if (progress->end_block > nblocks)
		migrate_failure_forget_truncated(heap);
	progress->end_block = Min(progress->end_block, nblocks);
	progress->next_block = Min(progress->next_block, progress->end_block);
}

/* What was done of late stays with the first: the sum is what is looked at. */
void
migrate_progress_divide(Progress *progress, BlockNumber from)
{
	migrate_store_execute("INSERT INTO migrate.backfill (relation, first_block, root, target,"
						  "  filenode, round, blocks_total, next_block, end_block,"
						  "  started_at, round_started_at)"
						  " SELECT relation, $3, root, target, filenode, round,"
						  "  first_block + blocks_total - $3, $3, $4, started_at, round_started_at"
						  " FROM migrate.backfill" THE_PART,
						  STORE_ARGS(PART_ARGS(&progress->part), store_bigint(from),
									 store_bigint(progress->end_block)));
	migrate_store_execute("UPDATE migrate.backfill"
						  " SET end_block = $3, blocks_total = $3 - first_block" THE_PART,
						  STORE_ARGS(PART_ARGS(&progress->part), store_bigint(from)));
	progress->end_block = from;
}

/* ---- rounds ---- */

static const char *
phase_after(const Progress *progress, bool is_over)
{
	if (!is_over)
		return PHASE_CONVERTING;
	if (progress->skipped > 0)
		return PHASE_WAITING;
	migrate_failure_forget_displaced(progress->part.heap);
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
	migrate_store_execute("UPDATE migrate.backfill SET phase = $3,"
						  RECENT("blocks_recent",
							   "greatest($4 + $12 - next_block - blocks_ahead, 0)") ","
						  RECENT("rows_recent", "$10") ","
						  " recent_from = CASE WHEN migrate.fading(blocks_recent + rows_recent,"
						  "  clock_timestamp() - recent_at) > 0 THEN recent_from"
						  "  ELSE clock_timestamp() - interval '100 ms' END,"
						  " recent_at = clock_timestamp(),"
						  " next_block = $4, end_block = $5, left_from = $6, left_to = $7,"
						  " skipped = $8, failed = $9,"
						  " rows_converted = rows_converted + $10 - $14, rows_pruned = rows_pruned + $14,"
						  " rows_referenced = rows_referenced + $15,"
						  " rows_repaired = rows_repaired + $11, blocks_ahead = $12,"
						  " held_by = CASE WHEN $3 = '" PHASE_CONVERTING "' THEN held_by END,"
						  " last_error = coalesce($13, last_error), updated_at = clock_timestamp()" THE_PART,
						  STORE_ARGS(PART_ARGS(&progress->part), store_text(phase),
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
	List	   *parts;

	migrate_progress_lock(root);
	/* Another session has begun the round, and come to the end of a part of it, while we waited. */
	parts = migrate_progress_parts(root, PHASE_CONVERTING);
	if (parts != NIL)
		return parts;
	parts = migrate_progress_parts(root, PHASE_WAITING);
	if (parts != NIL)
		migrate_store_execute("UPDATE migrate.backfill SET" NEXT_ROUND
							  " WHERE root = $1 AND phase = '" PHASE_WAITING "'",
							  STORE_ARGS(store_relation(root)));
	return parts;
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
						  " FROM (SELECT p.relation, p.first_block,"
						  "   " BLOCK_OF("min(row_tid)") " AS first,"
						  "   " BLOCK_OF("max(row_tid)") " AS last"
						  "  FROM (SELECT relation, first_block, lead(first_block)"
						  "     OVER (PARTITION BY relation ORDER BY first_block) AS next_first"
						  "    FROM migrate.backfill WHERE root = $1) p"
						  "  JOIN migrate.failure USING (relation)"
						  "  WHERE row_tid IS NOT NULL"
						  "   AND row_tid >= format('(%s,0)', p.first_block)::tid"
						  "   AND (next_first IS NULL OR row_tid < format('(%s,0)', next_first)::tid)"
						  "  GROUP BY p.relation, p.first_block) f"
						  " WHERE b.root = $1 AND b.phase = '" PHASE_FAILED "'"
						  " AND f.relation = b.relation AND f.first_block = b.first_block"
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
	migrate_store_execute("UPDATE migrate.backfill SET held_by = $2"
						  " WHERE (relation, first_block) IN"
						  " (SELECT relation, first_block FROM migrate.backfill"
						  "  WHERE root = $1 AND held_by IS DISTINCT FROM $2"
						  "  FOR UPDATE SKIP LOCKED)",
						  STORE_ARGS(store_relation(root), store_text(held_by)));
}

void
migrate_progress_set_part_held_by(const Part *part, const char *held_by)
{
	migrate_store_execute("UPDATE migrate.backfill SET held_by = $3"
						  " WHERE (relation, first_block) IN"
						  " (SELECT relation, first_block FROM migrate.backfill" THE_PART
						  "  AND phase = '" PHASE_CONVERTING "' AND held_by IS DISTINCT FROM $3"
						  "  FOR UPDATE SKIP LOCKED)",
						  STORE_ARGS(PART_ARGS(part), store_text(held_by)));
}

void
migrate_progress_forget(Oid root, int32 target)
{
	migrate_progress_lock(root);
	migrate_store_execute("DELETE FROM migrate.backfill WHERE root = $1 AND target <= $2",
						  STORE_ARGS(store_relation(root), store_int(target)));
}
