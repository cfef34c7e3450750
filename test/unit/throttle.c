/*
 * test/unit/throttle.c
 *		The throttle on simulated tables, servers and standbys.
 *
 * Usage: throttle [CASES [SEED]]. Prints TAP; its exit status is 0 only if all held.
 *
 * Time is simulated: a row costs so much time and WAL, a block holds so many of
 * them, and the clock is looked at between blocks. What comes out is compared
 * with what was asked for.
 */
#include "postgres.h"

#include "backfill/throttle.h"

static unsigned long long state;
static unsigned long long seed;
static int	failures = 0;

static int64
draw(int64 from, int64 to)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return from + (int64) ((state >> 11) % (unsigned long long) (to - from + 1));
}

static void
check(bool holds, const char *what, double found, double expected)
{
	if (!holds && failures++ < 10)
		printf("# %s: %g, not %g, seed %llu\n", what, found, expected, seed);
}

static int
report(int n, const char *claim)
{
	static int	before = 0;
	bool		ok = failures == before;

	printf("%sok %d - %s\n", ok ? "" : "not ", n, claim);
	before = failures;
	return ok ? 0 : 1;
}

/* ---- a table that is converted ---- */

typedef struct Table
{
	double		row_time;		/* milliseconds */
	int64		row_wal;		/* bytes */
	int			rows_per_block;
	bool		waited_for;
	bool		vacuumed;
} Table;

typedef struct Run
{
	double		time;
	double		working;
	int64		rows;
	int64		wal;
	double		longest;		/* batch */
	int64		most_rows;		/* in one batch */
	int64		most_wal;
} Run;

static void
run_batch(const Table *table, const ThrottleLimits *limits, Pace *pace, Run *run)
{
	int64		most = migrate_throttle_batch_rows(limits, 0);
	long		time = migrate_throttle_batch_time(limits, pace);
	ThrottleBatch batch = {.waited_for = table->waited_for, .vacuumed = table->vacuumed};
	double		elapsed = 0;

	while (elapsed < time && (most == 0 || batch.rows < most))
	{
		int			rows = table->rows_per_block;

		if (most > 0)
			rows = Min(rows, most - batch.rows);
		batch.rows += rows;
		elapsed += rows * table->row_time;
	}
	batch.wal_bytes = batch.rows * table->row_wal;
	batch.elapsed = (long) elapsed;
	migrate_throttle_adapt(limits, &batch, pace);
	run->time += elapsed + pace->rest;
	run->working += elapsed;
	run->rows += batch.rows;
	run->wal += batch.wal_bytes;
	run->longest = Max(run->longest, elapsed);
	run->most_rows = Max(run->most_rows, batch.rows);
	run->most_wal = Max(run->most_wal, batch.wal_bytes);
}

/* After a while in which it finds its pace. */
static Run
convert(const Table *table, const ThrottleLimits *limits, double milliseconds)
{
	Pace		pace = {0};
	Run			first = {0};
	Run			run = {0};

	while (first.time < 5000)
		run_batch(table, limits, &pace, &first);
	while (run.time < milliseconds)
		run_batch(table, limits, &pace, &run);
	return run;
}

static Table
some_table(void)
{
	Table		table = {
		.row_time = draw(5, 100) / 1000.0,
		.row_wal = draw(50, 500),
		.rows_per_block = draw(1, 100),
	};

	return table;
}

/* ---- claims ---- */

static void
check_unlimited(void)
{
	Table		table = some_table();
	ThrottleLimits limits = {.sharers = 1, .target_batch_time = draw(20, 1000)};
	Run			run = convert(&table, &limits, 20000);
	double		block = table.rows_per_block * table.row_time;

	check(run.working == run.time, "rest without a limit", run.time - run.working, 0);
	check(run.longest <= limits.target_batch_time + block, "longest batch", run.longest,
		  limits.target_batch_time);
}

static void
check_row_rate(void)
{
	Table		table = some_table();
	ThrottleLimits limits = {.sharers = 1, .target_batch_time = 100, .max_rows_per_second = draw(10, 200000)};
	Run			run = convert(&table, &limits, 100000);
	double		rate = run.rows * 1000.0 / run.time;
	double		possible = Min(limits.max_rows_per_second, 1000 / table.row_time);
	double		step = Max(Min(limits.max_rows_per_second / 10, 100), limits.max_rows_per_second / 50);

	check(rate <= limits.max_rows_per_second * 1.03, "rows per second", rate,
		  limits.max_rows_per_second);
	check(rate >= possible * 0.9, "rows per second", rate, possible);
	check(run.most_rows <= step, "rows at once", run.most_rows, step);
}

static void
check_wal_rate(void)
{
	Table		table = some_table();
	ThrottleLimits limits = {.sharers = 1, .target_batch_time = 100, .max_wal_rate = draw(100, 100000)};
	Run			run = convert(&table, &limits, 100000);
	double		rate = run.wal * 1000.0 / run.time / 1024;
	double		possible = Min(limits.max_wal_rate, table.row_wal * 1000 / table.row_time / 1024);
	double		least = (double) table.row_wal * table.rows_per_block *
		(1 + 1 / (table.rows_per_block * table.row_time));

	check(rate <= limits.max_wal_rate * 1.03, "WAL per second", rate, limits.max_wal_rate);
	check(rate >= possible * 0.85, "WAL per second", rate, possible);
	check(run.most_wal <= Max(limits.max_wal_rate * 1024 / 10 * 1.3, least) + least,
		  "WAL at once", run.most_wal, limits.max_wal_rate * 1024 / 10);
}

/*
 * Several at one table, who come and go. Each knows how many there are when it begins a
 * batch, as step.c does; a batch counts whole when it begins.
 */
#define MOST_SHARERS	8

typedef struct Sharer
{
	bool		is_there;
	double		due;			/* when its next batch begins */
	Pace		pace;
} Sharer;

static int
count_sharers(const Sharer *sharers)
{
	int			count = 0;

	for (int i = 0; i < MOST_SHARERS; i++)
		count += sharers[i].is_there;
	return count;
}

static Sharer *
next_sharer(Sharer *sharers)
{
	Sharer	   *next = NULL;

	for (int i = 0; i < MOST_SHARERS; i++)
		if (sharers[i].is_there && (next == NULL || sharers[i].due < next->due))
			next = &sharers[i];
	return next;
}

/* One that leaves has had its rest. Returns whether one has come. */
static bool
come_or_go(Sharer *sharers, double now)
{
	Sharer	   *sharer = &sharers[draw(0, MOST_SHARERS - 1)];

	if (sharer->is_there && (count_sharers(sharers) == 1 || sharer->due > now))
		return false;
	sharer->is_there = !sharer->is_there;
	sharer->due = now;
	memset(&sharer->pace, 0, sizeof(Pace));
	return sharer->is_there;
}

static void
check_sharers(void)
{
	Table		table = some_table();
	ThrottleLimits limits = {.target_batch_time = 100, .max_rows_per_second = draw(1, 20000)};
	bool		changes = draw(0, 1);
	Sharer		sharers[MOST_SHARERS] = {0};
	Run			run = {0};
	double		now = 0;
	int			came = draw(1, MOST_SHARERS);
	double		step = Max(limits.max_rows_per_second / 10.0, 1);
	double		rate;

	for (int i = 0; i < came; i++)
		sharers[i].is_there = true;
	while (now < 100000)
	{
		Sharer	   *sharer = next_sharer(sharers);

		now = sharer->due;
		if (changes && draw(0, 99) == 0)
			came += come_or_go(sharers, now);
		limits.sharers = count_sharers(sharers);
		run.time = 0;
		run_batch(&table, &limits, &sharer->pace, &run);
		sharer->due = now + run.time;
	}
	rate = run.rows * 1000.0 / now;
	check(run.rows <= limits.max_rows_per_second * now / 1000 * 1.03 + came * (step + 1),
		  "rows per second of all", rate, limits.max_rows_per_second);
	check(changes || rate >= Min(limits.max_rows_per_second, came * 1000 / table.row_time) * 0.9 - 1,
		  "rows per second of all", rate, limits.max_rows_per_second);
}

/* Slow rows, so that a block takes longer than a batch should: it adapts as far as it can. */
static void
check_slow_blocks(void)
{
	Table		table = {.row_time = draw(1, 20), .rows_per_block = draw(1, 50)};
	ThrottleLimits limits = {.sharers = 1, .target_batch_time = draw(1, 100)};
	Run			run = convert(&table, &limits, 100000);
	double		block = table.rows_per_block * table.row_time;

	check(run.longest <= Max(limits.target_batch_time, 1) + block, "longest batch", run.longest,
		  limits.target_batch_time + block);
}

static void
check_others(void)
{
	Table		table = some_table();
	ThrottleLimits limits = {.sharers = 1, .target_batch_time = 100};
	Run			run;

	table.waited_for = true;
	run = convert(&table, &limits, 20000);
	check(run.longest <= 1 + table.rows_per_block * table.row_time * 2, "batch waited for",
		  run.longest, 1);
	check(run.working <= run.time * 0.7, "work while waited for", run.working, run.time / 2);
	table.waited_for = false;
	table.vacuumed = true;
	run = convert(&table, &limits, 20000);
	check(run.working <= run.time * 0.3 && run.working > run.time * 0.15, "work beside a vacuum",
		  run.working, run.time / 4);
}

/* A batch that was cut short grows back, and a target that is lowered counts at once. */
static void
check_recovery(void)
{
	Table		table = some_table();
	ThrottleLimits limits = {.sharers = 1, .target_batch_time = 100};
	Pace		pace = {0};
	Run			run = {0};

	table.waited_for = true;
	for (int i = 0; i < 20; i++)
		run_batch(&table, &limits, &pace, &run);
	table.waited_for = false;
	for (int i = 0; i < 40; i++)
		run_batch(&table, &limits, &pace, &run);
	check(migrate_throttle_batch_time(&limits, &pace) >= 90 ||
		  table.rows_per_block * table.row_time > 10,
		  "batch after the waiters have gone", migrate_throttle_batch_time(&limits, &pace), 100);
	limits.target_batch_time = 5;
	check(migrate_throttle_batch_time(&limits, &pace) <= 5, "lowered target",
		  migrate_throttle_batch_time(&limits, &pace), 5);
}

static void
check_hold(void)
{
	ThrottleLimits limits = {
		.sharers = 1,
		.max_replication_lag = draw(0, 1) * draw(1, 100),
		.max_archive_backlog = draw(0, 1) * draw(1, 100),
		.target_batch_time = 100,
	};
	ThrottleLoad load = {
		.replication_lag = draw(0, 100),
		.archive_backlog = draw(0, 100),
		.query_holds = draw(0, 3) == 0,
		.query_failed = draw(0, 3) == 0,
	};
	ThrottleReason reason = migrate_throttle_hold(&limits, &load);
	bool		lags = limits.max_replication_lag > 0 &&
		load.replication_lag > limits.max_replication_lag;
	bool		piles_up = limits.max_archive_backlog > 0 &&
		load.archive_backlog > limits.max_archive_backlog;

	check((reason != THROTTLE_NONE) ==
		  (lags || piles_up || load.query_holds || load.query_failed), "held", reason, 0);
	check(reason != THROTTLE_REPLICATION_LAG || lags, "held by lag", reason, 0);
	check(reason != THROTTLE_ARCHIVE_BACKLOG || piles_up, "held by archive", reason, 0);
	check((reason == THROTTLE_NONE) == (migrate_throttle_name(reason)[0] == '\0'), "name",
		  reason, 0);
}

/*
 * A standby that replays what was written "behind" milliseconds ago: that is its
 * lag, give or take the time between two marks, as far as these reach back.
 */
static void
check_lag(void)
{
	WalMarks	marks = {0};
	int			limit = draw(100, 20000);
	int			spacing = limit / ((THROTTLE_MARKS - 1) / 2) + 100;
	int64		behind = draw(0, limit * 2);
	int64		now = draw(0, 1000000);
	int64		begin = now;

	while (now < begin + 5 * limit)
	{
		uint64		end = now * 10; /* so much WAL */
		uint64		replayed = (uint64) Max(now - behind, begin - 1000) * 10;
		int64		lag;

		migrate_throttle_mark_wal(&marks, now, end, limit);
		lag = migrate_throttle_lag(&marks, now, replayed);
		check(lag <= behind, "lag", lag, behind);
		if (now > begin + behind + spacing)
			check(lag >= Min(behind, limit * 3 / 2) - spacing, "lag", lag, behind);
		now += draw(20, 100);
	}
}

static void
repeat(int cases, unsigned long long first, void (*claim) (void))
{
	for (int i = 0; i < cases; i++)
	{
		seed = first + i;
		state = seed * 0x9e3779b97f4a7c15ULL + 1;
		for (int j = 0; j < 5; j++)
			(void) draw(0, 1);
		claim();
	}
}

int
main(int argc, char **argv)
{
	int			cases = argc > 1 ? atoi(argv[1]) : 100;
	unsigned long long first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	int			failed = 0;

	repeat(cases, first, check_unlimited);
	repeat(cases, first, check_slow_blocks);
	repeat(cases, first, check_recovery);
	failed += report(1, "a batch takes the time that it should, and no rest without a limit");
	repeat(cases, first, check_row_rate);
	failed += report(2, "rows per second are what is allowed, in small steps");
	repeat(cases, first, check_wal_rate);
	failed += report(3, "WAL per second is what is allowed, in small steps");
	repeat(cases, first, check_others);
	failed += report(4, "it gives way to sessions that wait and to a vacuum");
	repeat(cases * 10, first, check_hold);
	failed += report(5, "it is held by what is beyond its limit, and by nothing else");
	repeat(cases, first, check_lag);
	failed += report(6, "a standby's lag is told, also of one that says nothing");
	repeat(cases, first, check_sharers);
	failed += report(7, "several keep together to what is allowed for one, also when they come and go");
	printf("1..7\n# %d cases, seed %llu\n", cases, first);
	return failed;
}
