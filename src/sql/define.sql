/*
 * Record a migration; returns its name. Takes AccessShareLock on the relation.
 * The same definition again is a no-op with a NOTICE; another one under a known
 * name raises duplicate_object, saying which part differs. Only the relation's
 * owner may.
 */
CREATE FUNCTION migrate.define(
	name		text,
	relation	regclass,
	add			text DEFAULT NULL,
	up			text DEFAULT NULL,
	down		text DEFAULT NULL,
	remove		name[] DEFAULT '{}',
	needed		text DEFAULT NULL,
	depends_on	text[] DEFAULT NULL,
	on_error	text DEFAULT 'fail',
	comment		text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_define';

COMMENT ON FUNCTION migrate.define(text, regclass, text, text, text, name[], text, text[], text, text)
	IS 'record a migration of a table';

/*
 * Take away a definition that was never expanded, or was rolled back; raises
 * object_not_in_prerequisite_state otherwise.
 */
CREATE FUNCTION migrate.forget(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_forget';

COMMENT ON FUNCTION migrate.forget(text)
	IS 'take away a migration that is not expanded';
