/*
 * backfill/throttle.c
 *		How fast to go. Pure: time, load and limits come in.
 */
#include "postgres.h"

#include "backfill/throttle.h"

/* A limited pace is kept in steps of this many per second. */
#define STEPS_PER_SECOND	10

#define FIRST_ROUND_WAIT	50
#define LONGEST_ROUND_WAIT	5000

static int64
smaller_limit(int64 a, int64 b)
{
	if (a == 0 || b == 0)
		return Max(a, b);
	return Min(a, b);
}

int64
migrate_throttle_batch_rows(int64 rows_left, int max_rows_per_second)
{
	int64		step = 0;

	if (max_rows_per_second > 0)
		step = Max(max_rows_per_second / STEPS_PER_SECOND, 1);
	return smaller_limit(rows_left, step);
}

long
migrate_throttle_rest(int64 rows, long elapsed_ms, int max_rows_per_second)
{
	int64		due_ms;

	if (max_rows_per_second == 0)
		return 0;
	due_ms = rows * 1000 / max_rows_per_second;
	return (long) Max(due_ms - elapsed_ms, 0);
}

long
migrate_throttle_round(int round)
{
	return Min(FIRST_ROUND_WAIT << Min(round, 10), LONGEST_ROUND_WAIT);
}
