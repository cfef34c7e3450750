/*
 * backfill/throttle.h
 *		How fast to go. Pure: time, load and limits come in.
 */
#ifndef MIGRATE_BACKFILL_THROTTLE_H
#define MIGRATE_BACKFILL_THROTTLE_H

/* What is asked for. Zero: no limit. */
typedef struct ThrottleLimits
{
	int			sharers;		/* who keep to these rates together; one at least */
	int			max_rows_per_second;
	int			max_wal_rate;	/* kilobytes per second */
	int			max_replication_lag;	/* milliseconds */
	int			max_archive_backlog;	/* WAL files */
	int			target_batch_time;	/* milliseconds; never zero */
} ThrottleLimits;

/* What the server is at, apart from us. */
typedef struct ThrottleLoad
{
	int64		replication_lag;	/* milliseconds, of the standby that is farthest behind */
	int			archive_backlog;	/* WAL files that wait to be archived */
	bool		query_holds;	/* what the operator's own query says */
	bool		query_failed;
} ThrottleLoad;

/* What a batch did, and what it met. */
typedef struct ThrottleBatch
{
	int64		rows;
	int64		wal_bytes;
	long		elapsed;		/* milliseconds */
	bool		waited_for;		/* sessions waited for its locks */
	bool		vacuumed;		/* a vacuum is at work on the table */
} ThrottleBatch;

/* In the order in which they are looked at. */
typedef enum ThrottleReason
{
	THROTTLE_NONE,
	THROTTLE_QUERY_FAILED,
	THROTTLE_QUERY,
	THROTTLE_REPLICATION_LAG,
	THROTTLE_ARCHIVE_BACKLOG,
	THROTTLE_WAITERS,
	THROTTLE_VACUUM,
	THROTTLE_WAL_RATE,
	THROTTLE_ROW_RATE
} ThrottleReason;

/* How the next batch is to be; carried from batch to batch, all zero at first. */
typedef struct Pace
{
	double		batch_time;		/* milliseconds; zero: not tried yet */
	ThrottleReason reason;		/* of the rest */
	long		rest;			/* milliseconds after the last batch */
} Pace;

/* Why no batch may begin, nor go on. */
extern ThrottleReason migrate_throttle_hold(const ThrottleLimits *limits,
											const ThrottleLoad *load);

/* How many rows one batch may convert; 0: as many as its time allows. */
extern int64 migrate_throttle_batch_rows(const ThrottleLimits *limits, int64 rows_left);

/* How many milliseconds the next batch may take; one at least. */
extern long migrate_throttle_batch_time(const ThrottleLimits *limits, const Pace *pace);

/* A batch is done: how long to rest, why, and how long the next may take. */
extern void migrate_throttle_adapt(const ThrottleLimits *limits, const ThrottleBatch *batch,
								   Pace *pace);

/* For people to read; empty: nothing. */
extern const char *migrate_throttle_name(ThrottleReason reason);

/* How many milliseconds to wait before a round that meets rows held by others. */
extern long migrate_throttle_round(int round);

/* ---- the lag of a standby ---- */

/*
 * Where the end of WAL was at past times, the newest last. A standby's lag is
 * the age of the oldest WAL that it has not replayed; so one that says nothing
 * any more is seen to fall behind.
 */
#define THROTTLE_MARKS	17

typedef struct WalMark
{
	int64		at;				/* milliseconds */
	uint64		end;
} WalMark;

typedef struct WalMarks
{
	int			count;
	WalMark		marks[THROTTLE_MARKS];
} WalMarks;

/* Remember where WAL ends now, often enough to tell whether a lag exceeds a limit. */
extern void migrate_throttle_mark_wal(WalMarks *marks, int64 now, uint64 end, int max_lag);

/* How long WAL after this point has been waiting, as far as is remembered. */
extern int64 migrate_throttle_lag(const WalMarks *marks, int64 now, uint64 replayed);

#endif							/* MIGRATE_BACKFILL_THROTTLE_H */
