-- The graph of migrations: what depends on what, and what may stand beside what.
CREATE DATABASE regress_migrate_graph;
\c regress_migrate_graph
CREATE EXTENSION migrate;
CREATE TABLE people (id int PRIMARY KEY, full_name text, email text, phone text, price int);
INSERT INTO people SELECT g, 'A' || g || ' B', 'X' || g || '@y', '1' || g, g FROM generate_series(1, 5) g;

-- Each follows the one before it unless it says what it depends on.
SELECT migrate.define('split', 'people', add => 'first_name text',
	up => $$first_name = split_part(full_name, ' ', 1)$$, down => 'full_name = first_name', remove => '{full_name}');
SELECT migrate.define('mails', 'people', up => 'email = lower(email)');
SELECT name, depends_on FROM migrate.status;

-- Beside one with which it commutes.
SELECT migrate.define('phones', 'people', depends_on => '{split}', up => $$phone = '+' || ltrim(phone, '+')$$);
-- Several leaves.
SELECT migrate.define('more', 'people', add => 'n int', up => 'n = id');
SELECT migrate.define('more', 'people', depends_on => '{nobody}', add => 'n int', up => 'n = id');
SELECT migrate.define('more', 'people', depends_on => '{more}', add => 'n int', up => 'n = id');
-- A merge has neither columns nor expressions.
SELECT migrate.define('merged', 'people', depends_on => '{mails}');
SELECT migrate.define('merged', 'people', depends_on => '{mails, phones}');

-- Beside one with which it does not: what one adds, removes, rewrites or computes back the other uses.
SELECT migrate.define('x', 'people', depends_on => '{}', add => 'initial text', up => 'initial = left(full_name, 1)');
SELECT migrate.define('x', 'people', depends_on => '{split}', add => 'host text', up => $$host = split_part(email, '@', 2)$$);
SELECT migrate.define('x', 'people', depends_on => '{split}', up => $$email = trim(email)$$);
SELECT migrate.define('x', 'people', depends_on => '{}', add => 'first_name text', up => 'first_name = phone');
SELECT migrate.define('x', 'people', depends_on => '{}', remove => '{full_name}');
SELECT count(*) FROM migrate.status;

-- Both compute back one column.
SELECT migrate.define('cents', 'people', depends_on => '{merged}', add => 'cents int', up => 'cents = price * 100', down => 'price = cents / 100');
SELECT migrate.define('x', 'people', depends_on => '{merged}', add => 'mills int', up => 'mills = price * 1000', down => 'price = mills / 1000');
-- One reads in up what the other computes back: every up comes after every down.
SELECT migrate.define('dear', 'people', depends_on => '{merged}', add => 'dear boolean', up => 'dear = price > 3');

-- Drawn.
SELECT migrate.graph() \g (format=unaligned tuples_only=on)
SELECT migrate.graph('mermaid') \g (format=unaligned tuples_only=on)
SELECT migrate.graph('dot') \g (format=unaligned tuples_only=on)
SELECT migrate.graph('ascii');
SELECT * FROM migrate.plan();
SELECT * FROM migrate.plan('mails');
SELECT * FROM migrate.plan('nobody');
SELECT * FROM migrate.backport_base('dear');
SELECT * FROM migrate.backport_base('cents');
SELECT migrate.define('late', 'people', depends_on => '{dear, cents}', up => 'first_name = initcap(first_name)');
SELECT * FROM migrate.backport_base('late');

-- The same migration with other dependencies is moved, as far as history allows.
SELECT migrate.define('phones', 'people', depends_on => '{mails}', up => $$phone = '+' || ltrim(phone, '+')$$);
SELECT migrate.define('phones', 'people', depends_on => '{mails}', up => $$phone = '+' || ltrim(phone, '+')$$);
SELECT migrate.define('phones', 'people', up => $$phone = '+' || ltrim(phone, '+')$$);
SELECT migrate.graph() \g (format=unaligned tuples_only=on)
-- Neither in a circle, nor away from what it needs, nor with another content.
SELECT migrate.define('phones', 'people', depends_on => '{merged}', up => $$phone = '+' || ltrim(phone, '+')$$);
SELECT migrate.define('late', 'people', depends_on => '{mails}', up => 'first_name = initcap(first_name)');
SELECT migrate.define('late', 'people', depends_on => '{}', up => 'first_name = initcap(first_name)');
SELECT migrate.define('late', 'people', depends_on => '{mails}', up => 'first_name = upper(first_name)');
-- Nor may those that follow lose what they need.
SELECT migrate.define('mails', 'people', depends_on => '{}', up => 'email = lower(email)');
SELECT name, depends_on FROM migrate.status ORDER BY name;
SELECT migration, event, detail FROM migrate.history WHERE event = 'moved';

-- What has been expanded keeps its order, but for those that commute.
SELECT migrate.expand('split'), migrate.expand('mails'), migrate.expand('phones');
SELECT migrate.define('fix', 'people', depends_on => '{mails}', add => 'domain text', up => $$domain = split_part(email, '@', 2)$$);
SELECT migrate.expand('fix');
SELECT migrate.define('fix', 'people', depends_on => '{late}', add => 'domain text', up => $$domain = split_part(email, '@', 2)$$);
SELECT migrate.define('trimmed', 'people', depends_on => '{fix}', up => 'email = trim(email)');
SELECT migrate.define('fix', 'people', depends_on => '{trimmed}', add => 'domain text', up => $$domain = split_part(email, '@', 2)$$);
SELECT migrate.define('trimmed', 'people', depends_on => '{late}', up => 'email = trim(email)');
SELECT migrate.define('fix', 'people', depends_on => '{mails}', add => 'domain text', up => $$domain = split_part(email, '@', 2)$$);
SELECT migrate.graph() \g (format=unaligned tuples_only=on)

-- A release may be planned for as well; of one name the migration counts.
SELECT migrate.create_release('2026.1', '{split, mails, phones}'), migrate.create_release('cents', '{}');
SELECT migration, action FROM migrate.plan('2026.1');
SELECT migration, action FROM migrate.plan('cents');
SELECT migrate.create_release('none', '{}');
SELECT * FROM migrate.plan('none');

-- Who reads a generated column reads what it is generated from.
CREATE TABLE totals (id int PRIMARY KEY, net int, tax int, gross int GENERATED ALWAYS AS (net + tax) STORED);
SELECT migrate.define('rounded', 'totals', up => 'net = net / 10 * 10');
SELECT migrate.define('x', 'totals', depends_on => '{}', add => 'twice int', up => 'twice = gross * 2');
SELECT migrate.define('x', 'totals', depends_on => '{}', up => 'tax = abs(tax)', needed => 'gross > 10');

\c contrib_regression
DROP DATABASE regress_migrate_graph;
