--
-- What is built on both forms: policies, views as a release would publish them,
-- functions that the planner may inline.
--
SET ROLE smith_owner;
SET search_path = smith;

ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON notes USING (reader IN (current_user, 'nobody')) WITH CHECK (reader <> 'smith_owner');
CREATE POLICY secrets ON notes AS RESTRICTIVE USING (NOT secret OR level < 9);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON orders USING (NOT is_big OR region IN (SELECT n FROM plain WHERE id < 10)) WITH CHECK (total IS NULL OR total < 5);

CREATE VIEW people_1 WITH (security_invoker) AS SELECT id, full_name, email, age, price, key FROM people;
CREATE VIEW people_2 WITH (security_invoker) AS
	SELECT id, first_name, last_name, email, age, price_new AS price, initials, home, labels, adult, share, pension FROM people;
CREATE VIEW adults AS SELECT * FROM people WHERE adult WITH CASCADED CHECK OPTION;
CREATE VIEW orders_1 WITH (security_invoker) AS SELECT id, region, item, amount FROM orders;
CREATE VIEW orders_2 WITH (security_invoker) AS SELECT id, region, item, total, what, is_big FROM orders;
CREATE VIEW notes_2 WITH (security_invoker, security_barrier) AS SELECT id, reader, title, secret FROM notes;
CREATE VIEW totals AS SELECT p.last_name, o.what, sum(o.total) AS total, count(*) AS n
	FROM people p LEFT JOIN orders o ON o.id = p.id AND o.is_big GROUP BY GROUPING SETS ((1), (2), (1, 2));
CREATE VIEW joined AS SELECT p.id, p.first_name, p.pension, o.total, n.title, n.reader
	FROM people p FULL JOIN orders o ON o.id = p.id AND p.adult FULL JOIN notes n ON n.id = o.id;

CREATE FUNCTION people_named(text) RETURNS SETOF people LANGUAGE sql STABLE AS
	'SELECT * FROM people WHERE first_name = $1 OR last_name = $1';
CREATE FUNCTION total_of(integer) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT sum(total) FROM orders WHERE id = $1';
GRANT USAGE ON SCHEMA smith TO smith_user;
GRANT ALL ON ALL TABLES IN SCHEMA smith TO smith_user;
RESET ROLE;
ANALYZE;
