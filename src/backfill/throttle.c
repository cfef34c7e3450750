/*
 * backfill/throttle.c
 *		How fast to go. Pure: time, load and limits come in.
 *
 * Some of what is measured holds the work up: as long as a standby or the
 * archiver is too far behind, or the operator's own query says so, no batch
 * begins. The rest slows it down: after a batch there is a rest that brings the
 * pace to what is allowed, and the next batch is made longer or shorter.
 *
 * A pace is kept in steps of a tenth of a second: a batch makes no more rows or
 * WAL than is due in that time, so nobody sees a second's worth in one burst. Where
 * that are many rows the steps are shorter, for who shares a processor with a burst
 * waits for its end; but no batch is made of fewer rows than pay for its commit.
 *
 * Several who convert one table keep to its rates together: each to an equal share of
 * what it knows to be the rate. When one comes, the others go slower after the batch that
 * they are at, and take a rest that the share of before had made; so it is a
 * step too much at the most. When one leaves, its share is theirs from their next batch on.
 */
#include "postgres.h"

#include <math.h>

#include "backfill/throttle.h"

#define STEPS_PER_SECOND	10
#define MOST_STEPS_PER_SECOND	50
#define ROWS_WORTH_A_STEP	100

/* Beside a vacuum of the table, the part of the time in which we do not work. */
#define VACUUM_REST			3	/* times that of the batch */

/* Batches grow back to what is asked for by this much each. */
#define GROWTH				1.25

/* In milliseconds. The first one is short: nobody knows yet what it comes to. */
#define SHORTEST_BATCH		1.0
#define FIRST_BATCH			10.0

#define FIRST_ROUND_WAIT	50
#define LONGEST_ROUND_WAIT	5000

const char *
migrate_throttle_name(ThrottleReason reason)
{
	switch (reason)
	{
		case THROTTLE_NONE:
			return "";
		case THROTTLE_QUERY_FAILED:
			return "migrate.throttle_query, which fails";
		case THROTTLE_QUERY:
			return "migrate.throttle_query";
		case THROTTLE_REPLICATION_LAG:
			return "migrate.max_replication_lag";
		case THROTTLE_ARCHIVE_BACKLOG:
			return "migrate.max_archive_backlog";
		case THROTTLE_WAITERS:
			return "sessions waiting for its locks";
		case THROTTLE_VACUUM:
			return "a vacuum of the table";
		case THROTTLE_WAL_RATE:
			return "migrate.max_wal_rate";
		case THROTTLE_ROW_RATE:
			return "migrate.max_rows_per_second";
	}
	return "";
}

/* ---- shares ---- */

static double
row_rate(const ThrottleLimits *limits)
{
	return (double) limits->max_rows_per_second / limits->sharers;
}

/* In bytes. */
static double
wal_rate(const ThrottleLimits *limits)
{
	return limits->max_wal_rate * 1024.0 / limits->sharers;
}

/* ---- before a batch ---- */

ThrottleReason
migrate_throttle_hold(const ThrottleLimits *limits, const ThrottleLoad *load)
{
	if (load->query_failed)
		return THROTTLE_QUERY_FAILED;
	if (load->query_holds)
		return THROTTLE_QUERY;
	if (limits->max_replication_lag > 0 && load->replication_lag > limits->max_replication_lag)
		return THROTTLE_REPLICATION_LAG;
	if (limits->max_archive_backlog > 0 && load->archive_backlog > limits->max_archive_backlog)
		return THROTTLE_ARCHIVE_BACKLOG;
	return THROTTLE_NONE;
}

int64
migrate_throttle_batch_rows(const ThrottleLimits *limits, int64 rows_left)
{
	int64		rate = limits->max_rows_per_second / limits->sharers;
	int64		step;

	if (limits->max_rows_per_second == 0)
		return rows_left;
	step = Max(Min(rate / STEPS_PER_SECOND, ROWS_WORTH_A_STEP), rate / MOST_STEPS_PER_SECOND);
	step = Max(step, 1);
	return rows_left > 0 ? Min(rows_left, step) : step;
}

/* A target that was lowered since counts at once. */
static double
batch_time(const ThrottleLimits *limits, const Pace *pace)
{
	if (pace->batch_time == 0)
		return Min(FIRST_BATCH, limits->target_batch_time);
	return Min(pace->batch_time, limits->target_batch_time);
}

long
migrate_throttle_batch_time(const ThrottleLimits *limits, const Pace *pace)
{
	return (long) batch_time(limits, pace);
}

/* ---- after a batch ---- */

/* How long the next may take. */
static double
next_batch_time(const ThrottleLimits *limits, const ThrottleBatch *batch, double time)
{
	double		target = limits->target_batch_time;
	double		elapsed = Max(batch->elapsed, 1);
	double		next = Min(time * GROWTH, target);

	/* What is between two looks at the clock may take long: it takes less time than is given. */
	if (elapsed > target)
		next = time * target / elapsed;
	if (batch->waited_for)
		next = Min(next, elapsed / 2);
	if (limits->max_wal_rate > 0 && batch->wal_bytes > 0)
		next = Min(next, elapsed * wal_rate(limits) / STEPS_PER_SECOND / batch->wal_bytes);
	return Max(next, SHORTEST_BATCH);
}

/* Rather a little too long: what is rounded off would add up. */
static void
rest_for(Pace *pace, ThrottleReason reason, double rest)
{
	long		whole = (long) ceil(rest);

	if (whole <= pace->rest)
		return;
	pace->reason = reason;
	pace->rest = whole;
}

void
migrate_throttle_adapt(const ThrottleLimits *limits, const ThrottleBatch *batch, Pace *pace)
{
	pace->batch_time = next_batch_time(limits, batch, batch_time(limits, pace));
	pace->reason = THROTTLE_NONE;
	pace->rest = 0;
	if (batch->waited_for)
		rest_for(pace, THROTTLE_WAITERS, Max(batch->elapsed, 1));
	if (batch->vacuumed)
		rest_for(pace, THROTTLE_VACUUM, (double) VACUUM_REST * Max(batch->elapsed, 1));
	if (limits->max_wal_rate > 0)
		rest_for(pace, THROTTLE_WAL_RATE,
				 batch->wal_bytes * 1000.0 / wal_rate(limits) - batch->elapsed);
	if (limits->max_rows_per_second > 0)
		rest_for(pace, THROTTLE_ROW_RATE,
				 batch->rows * 1000.0 / row_rate(limits) - batch->elapsed);
}

long
migrate_throttle_round(int round)
{
	return Min(FIRST_ROUND_WAIT << Min(round, 10), LONGEST_ROUND_WAIT);
}

/* ---- the lag of a standby ---- */

/* The marks reach back for twice the limit. */
void
migrate_throttle_mark_wal(WalMarks *marks, int64 now, uint64 end, int max_lag)
{
	int64		spacing = Max(max_lag / ((THROTTLE_MARKS - 1) / 2), 1);

	if (marks->count > 0 && now - marks->marks[marks->count - 1].at < spacing)
		return;
	if (marks->count == THROTTLE_MARKS)
		memmove(marks->marks, marks->marks + 1, --marks->count * sizeof(WalMark));
	marks->marks[marks->count].at = now;
	marks->marks[marks->count++].end = end;
}

int64
migrate_throttle_lag(const WalMarks *marks, int64 now, uint64 replayed)
{
	for (int i = 0; i < marks->count; i++)
		if (marks->marks[i].end > replayed)
			return now - marks->marks[i].at;
	return 0;
}
