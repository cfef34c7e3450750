/*
 * What the extension knows is about this database. A publication FOR ALL TABLES sends its
 * tables along: a subscriber keeps what it has. The triggers fire for replication
 * alone, and let through what is written by the extension itself meanwhile.
 */
CREATE FUNCTION migrate.own_rows_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_own_rows_trigger';

COMMENT ON FUNCTION migrate.own_rows_trigger()
	IS 'trigger of the extension''s tables: keep out what logical replication sends';

DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT oid FROM pg_catalog.pg_class
		WHERE relnamespace = 'migrate'::regnamespace AND relkind = 'r'
	LOOP
		EXECUTE format('CREATE TRIGGER own_rows BEFORE INSERT OR UPDATE OR DELETE ON %s'
					   ' FOR EACH ROW EXECUTE FUNCTION migrate.own_rows_trigger()', t);
		EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER own_rows', t);
	END LOOP;
END
$$;
