--
-- Chains of migrations, live all at once, and rows of each of their versions.
--
CREATE EXTENSION migrate;
SET ROLE smith_owner;
SET search_path = smith;
SET client_min_messages = warning;

SELECT migrate.define('split', 'people', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('mail', 'people', up => 'email = lower(email)');
SELECT migrate.define('exact', 'people', add => 'price numeric(12,2)', up => 'price = old.price / 100.0',
	down => 'price = (new.price * 100)::integer');
SELECT migrate.define('derived', 'people', add => 'initials text, home place, labels text[], adult boolean, share percentage',
	up => $$initials = initials(first_name || ' ' || last_name), home = row('street', age)::place,
		labels = ARRAY[first_name, last_name], adult = age >= 18, share = age$$);
SELECT migrate.define('old', 'people', add => 'pension integer', up => 'pension = age * 10', needed => 'age > 66');
SELECT migrate.define('money', 'orders', add => 'total numeric, what text', up => 'total = amount / 100.0, what = coalesce(upper(item), $$-$$)',
	down => 'amount = (total * 100)::integer', remove => '{amount}');
SELECT migrate.define('big', 'orders', add => 'is_big boolean NOT NULL DEFAULT false', up => 'is_big = coalesce(total > 0.5, false)');
SELECT migrate.define('who', 'notes', add => 'reader text, secret boolean', up => 'reader = coalesce(owner, $$nobody$$), secret = level > 5',
	down => 'owner = nullif(reader, $$nobody$$)', remove => '{owner}');
SELECT migrate.define('upper', 'notes', add => 'title text', up => 'title = upper(body) || reader', down => 'body = lower(title)');

SELECT migrate.expand('split'), migrate.expand('mail'), migrate.expand('money'), migrate.expand('who');
UPDATE people SET age = age WHERE id % 5 = 1;
UPDATE people SET first_name = 'Someone' WHERE id % 10 = 2;
UPDATE orders SET item = item WHERE id % 3 = 1;
UPDATE notes SET level = level WHERE id % 3 = 1;
SELECT migrate.expand('exact'), migrate.expand('derived'), migrate.expand('big'), migrate.expand('upper');
UPDATE people SET age = age WHERE id % 5 = 3;
UPDATE people SET price_new = 9.99 WHERE id % 10 = 4;
UPDATE orders SET total = 1 WHERE id % 6 = 2;
UPDATE notes SET title = 'A title' WHERE id % 6 = 2;
SELECT migrate.expand('old');
UPDATE people SET age = age WHERE id % 20 = 0;
RESET ROLE;

-- What SQLsmith may name is ours: the catalog is not what it is to ask.
REVOKE ALL ON ALL TABLES IN SCHEMA migrate FROM PUBLIC;
