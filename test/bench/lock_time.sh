#!/bin/bash
#
# How long expand and contract hold their strong lock on a table, by its size.
#
#	test/bench/lock_time.sh [ROWS...]		10 and 10000000, if none are given
#
# on a scratch database of a server that has the library preloaded, as superuser, with
# the connection in PGHOST and the like, and psql in the PATH. On each table
# ROUNDS (7) migrations are expanded, all rows are converted, and the migrations are
# contracted. A second session looks without pause whether the lock is
# there: from when it first sees it to when it no longer does, in milliseconds. "call" is the
# statement as its client sees it. Medians; the smallest and largest in brackets.

set -eu
rounds=${ROUNDS:-7}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run() { psql -XAtq -v ON_ERROR_STOP=1 -c 'SET client_min_messages = warning' "$@"; }

# SQL that returns for how long somebody had AccessExclusiveLock on table $1.
watch() {
	cat <<SQL
SET application_name = 'lock_time watcher';
DO \$\$
DECLARE
	first timestamptz;
	held boolean;
BEGIN
	LOOP
		SELECT count(*) > 0 INTO held FROM pg_locks
			WHERE relation = '$1'::regclass AND mode = 'AccessExclusiveLock' AND granted;
		IF held AND first IS NULL THEN
			first := clock_timestamp();
		ELSIF first IS NOT NULL AND NOT held THEN
			EXIT;
		END IF;
	END LOOP;
	PERFORM set_config('lock_time.held', (extract(epoch FROM clock_timestamp() - first) * 1000)::numeric(10,2)::text, false);
END \$\$;
SELECT current_setting('lock_time.held');
SQL
}

# Run statement $2 on table $1; the two times go to files named $3.
measure() {
	watch "$1" >"$work/watch.sql"
	run -f "$work/watch.sql" >>"$work/$3.held" 2>"$work/out" &
	until [ "$(run -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lock_time watcher' AND state = 'active' AND query ~ '^DO'")" = 1 ]; do :; done
	run -c '\timing on' -c "$2" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' >>"$work/$3.call"
	# One that was not run in that time has missed it.
	run -c "SELECT pg_sleep(0.2), pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'lock_time watcher' AND state = 'active'" >"$work/out"
	wait $! || echo "not seen: $2" >&2
}

# The median of a file, and its bounds.
median() {
	sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%.1f [%.1f to %.1f]", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

sizes="${*:-10 10000000}"
run -c 'CREATE EXTENSION IF NOT EXISTS migrate' -c 'DROP SCHEMA IF EXISTS lock_time CASCADE' -c 'CREATE SCHEMA lock_time'
columns=$(seq -s ', ' -f 'a%g integer' "$rounds")
values=$(seq -s ', ' -f 'i + %g' "$rounds")
for rows in $sizes; do
	table=lock_time.t_$rows
	run -c "CREATE TABLE $table (id integer, $columns)" \
		-c "INSERT INTO $table SELECT i, $values FROM generate_series(1, $rows) i" -c "VACUUM ANALYZE $table"
	for i in $(seq "$rounds"); do
		run -c "SELECT migrate.define('lock_time_${rows}_$i', '$table', add => 'b$i integer', up => 'b$i = a$i + 1', down => 'a$i = b$i - 1', remove => '{a$i}')" >"$work/out"
	done
done

# In turns, so that what else the machine does counts for all alike.
each() { # step, its other arguments
	run -c CHECKPOINT
	for i in $(seq "$rounds"); do
		for rows in $sizes; do
			measure "lock_time.t_$rows" "SELECT migrate.$1('lock_time_${rows}_$i'${2:-})" "$1_$rows"
		done
	done
}

each expand
for rows in $sizes; do
	run -c "CALL migrate.run('lock_time.t_$rows')" >"$work/out"
done
each contract ", skip => '{window,usage}'"

printf '%-10s %-10s %-28s %s\n' rows step 'lock held, ms' 'call, ms'
for step in expand contract; do
	for rows in $sizes; do
		printf '%-10s %-10s %-28s %s\n' "$rows" "$step" "$(median "$work/${step}_$rows.held")" "$(median "$work/${step}_$rows.call")"
	done
done
run -c 'DROP SCHEMA lock_time CASCADE'
