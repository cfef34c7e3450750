--
-- A row that is not converted is read and written like one that is: the same
-- statements on two tables, of which one is converted and the other never.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE SCHEMA same;
SET search_path = same;
SET client_min_messages = warning;

CREATE FUNCTION make(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I (id integer PRIMARY KEY, kind text, full_name text, email text, n integer,
		mail_key text GENERATED ALWAYS AS (email || ''/'' || kind) STORED)', name);
	EXECUTE format('INSERT INTO %I SELECT i, (ARRAY[''old'', ''new'', NULL])[1 + i %% 3],
		CASE WHEN i %% 7 > 0 THEN ''first'' || i || '' last'' || i END,
		CASE WHEN i %% 2 > 0 THEN ''Mail'' ELSE ''mail'' END || i, i %% 5 FROM generate_series(1, 60) i', name);
	PERFORM migrate.define(name || '_names', name, add => 'first_name text, last_name text',
		up => $up$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$up$,
		down => $down$full_name = first_name || ' ' || last_name$down$, needed => $n$kind = 'old'$n$);
	PERFORM migrate.define(name || '_mail', name, up => 'email = lower(email)', needed => 'email <> lower(email)');
	PERFORM migrate.define(name || '_capital', name,
		up => 'first_name = initcap(first_name), last_name = initcap(last_name)');
	PERFORM migrate.define(name || '_contact', name, add => 'contact text, m integer',
		up => $up$contact = last_name || '<' || email || '>', m = n + 1$up$, down => 'n = m - 1',
		needed => 'n > 1 OR first_name IS NOT NULL');
	PERFORM migrate.define(name || '_sum', name, add => 'total integer', up => 'total = n * 10 + length(full_name)');
	PERFORM migrate.expand(m) FROM unnest(ARRAY[name || '_names', name || '_mail']) m;
	-- rows of every version
	EXECUTE format('UPDATE %I SET n = n WHERE id %% 4 = 1', name);
	PERFORM migrate.expand(m) FROM unnest(ARRAY[name || '_capital', name || '_contact']) m;
	EXECUTE format('UPDATE %I SET n = n WHERE id %% 4 = 2', name);
	PERFORM migrate.expand(name || '_sum');
END$$;

CREATE FUNCTION some_value(col text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE col WHEN 'kind' THEN (ARRAY['''old''', '''old''', '''new''', 'NULL'])[1 + floor(random() * 4)]
		WHEN 'n' THEN floor(random() * 5)::text WHEN 'm' THEN floor(random() * 5)::text
		WHEN 'email' THEN (ARRAY['''X''', '''x''', 'email || ''Y''', 'NULL'])[1 + floor(random() * 4)]
		WHEN 'full_name' THEN (ARRAY['''a B''', '''Cc dd''', 'full_name || ''e''', 'NULL'])[1 + floor(random() * 4)]
		ELSE format((ARRAY['''new''', '''New''', '%I || ''f''', 'NULL'])[1 + floor(random() * 4)], col) END
$$;

-- One to three columns given values, and perhaps some written back.
CREATE FUNCTION some_update() RETURNS text LANGUAGE sql AS $$
	SELECT 'UPDATE %I SET ' || string_agg(col || ' = ' ||
		CASE WHEN nr <= 1 + id % 3 THEN some_value(col) ELSE col END, ', ') || ' WHERE id = ' || id
	FROM (SELECT 1 + floor(random() * 60)::integer AS id, floor(random() * 5)::integer AS written_back) r,
		LATERAL (SELECT col, row_number() OVER () AS nr FROM (SELECT col FROM
			unnest('{kind,full_name,email,n,first_name,last_name,contact,m}'::text[]) col ORDER BY random()) c) c
	WHERE nr <= 1 + id % 3 + written_back GROUP BY id
$$;

CREATE FUNCTION run(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END$$;

CREATE FUNCTION differences() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT count(*) FROM
		(SELECT id, kind, full_name, email, n, mail_key, first_name, last_name, contact, m, total FROM stale) a
		FULL JOIN (SELECT id, kind, full_name, email, n, mail_key, first_name, last_name, contact, m, total FROM converted) b
		USING (id) WHERE a IS DISTINCT FROM b);
END$$;

-- Rounds of statements, each from the beginning; a round's number is its seed.
CREATE PROCEDURE compare(first integer, last integer) LANGUAGE plpgsql AS $$
DECLARE
	statement text;
	a text;
	b text;
BEGIN
	FOR seed IN first .. last LOOP
		PERFORM setseed(seed / 300.0);
		FOR i IN 1 .. 40 LOOP
			statement := some_update();
			a := run(format(statement, 'stale'));
			b := run(format(statement, 'converted'));
			IF a <> b OR differences() > 0 THEN
				RAISE EXCEPTION 'seed %, statement %: % (% / %)', seed, i, format(statement, 'stale'), a, b;
			END IF;
		END LOOP;
		ROLLBACK;
	END LOOP;
END$$;

SELECT make('stale'), make('converted');
UPDATE converted SET n = n;
SELECT differences();
SELECT count(*) FILTER (WHERE row_version < 6) AS stale_rows FROM stale;
SELECT count(*) FILTER (WHERE row_version < 6) AS stale_rows FROM converted;
CALL compare(1, 70);

-- nor does the backfill make a difference
CALL migrate.run('stale');
SELECT differences();
SELECT name, state FROM migrate.status WHERE relation = 'stale'::regclass;
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'stale'::regclass AND contype = 'c' ORDER BY 1;
CALL compare(71, 80);
SELECT differences();

SET client_min_messages = error;
SELECT count(migrate.rollback(name, discard => true)) FROM (SELECT name FROM migrate.migration
	WHERE relation IN ('stale'::regclass, 'converted'::regclass) ORDER BY seq DESC) m;
SELECT count(migrate.forget(name)) FROM (SELECT name FROM migrate.migration
	WHERE relation IN ('stale'::regclass, 'converted'::regclass) ORDER BY seq DESC) m;
DROP SCHEMA same CASCADE;
