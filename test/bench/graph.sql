--
-- What the graph of migrations costs, in milliseconds: define, plan, graph and expand with
-- so many migrations there already.
--
--	psql -X -v migrations=1000 -f test/bench/graph.sql
--
-- on a scratch database of a server that has the library preloaded, with
-- migrate.autostart off. First a chain on one table of which nothing is expanded yet;
-- then as many on a hundred tables, expanded and then contracted.
-- Of each figure the best of five, and what was done is taken back.
--
\if :{?migrations}
\else
\set migrations 1000
\endif
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA bench;
SET search_path = bench;
CREATE TABLE result (nr serial, migrations text, call text, ms numeric);

-- The best time of a call that is taken back, as long as nobody else looks.
CREATE FUNCTION measure(migrations text, call text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	begun timestamptz;
	took float8;
	best float8 := 'infinity';
BEGIN
	FOR i IN 1 .. 5 LOOP
		BEGIN
			begun := clock_timestamp();
			EXECUTE 'SELECT ' || call;
			took := extract(epoch FROM clock_timestamp() - begun) * 1000;
			RAISE EXCEPTION USING ERRCODE = 'BENCH';
		EXCEPTION WHEN SQLSTATE 'BENCH' THEN
			best := least(best, took);
		END;
	END LOOP;
	INSERT INTO result (migrations, call, ms) VALUES (migrations, call, round(best::numeric, 1));
END $$;

CREATE FUNCTION measure_all(migrations text, next text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM measure(migrations, 'migrate.define(''x'', ''bench.t1'', add => ''x int'', up => ''x = a'')');
	PERFORM measure(migrations, 'migrate.define(''x'', ''bench.t1'', up => ''a = abs(a)'')');
	PERFORM measure(migrations, 'count(*) FROM migrate.plan()');
	PERFORM measure(migrations, 'length(migrate.graph())');
	PERFORM measure(migrations, format('migrate.expand(%L)', next));
END $$;

CREATE PROCEDURE define_chain(t text, count int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		PERFORM migrate.define(t || '_' || i, ('bench.' || t)::regclass, add => format('c%s int', i), up => format('c%s = a + %s', i, i));
		COMMIT;
	END LOOP;
END $$;

-- A chain, defined.
CREATE TABLE t1 (id int PRIMARY KEY, a int);
CALL define_chain('t1', :migrations);
SELECT measure_all(:'migrations' || ' defined, one table', 't1_1') \g /dev/null
DROP TABLE t1;

-- On a hundred tables, expanded and then contracted.
CREATE PROCEDURE expand_all() LANGUAGE plpgsql AS $$
DECLARE m text;
BEGIN
	FOR m IN SELECT p.migration FROM migrate.plan() p WHERE action = 'expand' LOOP
		PERFORM migrate.expand(m);
		COMMIT;
	END LOOP;
END $$;
CREATE PROCEDURE contract_all() LANGUAGE plpgsql AS $$
DECLARE m text;
BEGIN
	FOR m IN SELECT p.migration FROM migrate.plan() p WHERE action = 'contract' LOOP
		PERFORM migrate.contract(m, skip => '{window,usage}');
		COMMIT;
	END LOOP;
END $$;
SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, a int)', n), format('CALL define_chain(%L, %s)', 't' || n, :migrations / 100)
  FROM generate_series(1, 100) n \gexec
CALL expand_all();
SELECT migrate.define('t1_next', 't1', add => 'y int', up => 'y = a') \g /dev/null
SELECT measure_all(:'migrations' || ' expanded, 100 tables', 't1_next') \g /dev/null
CALL migrate.run();
CALL contract_all();
SELECT measure_all(:'migrations' || ' contracted, 100 tables', 't1_next') \g /dev/null

SELECT migrations, replace(call, 'bench.', '') AS call, ms FROM result ORDER BY nr;
SET migrate.guard = off;
DROP SCHEMA bench CASCADE;
