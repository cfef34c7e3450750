/*
 * Everybody may look at what is going on, nobody may write it. Rows of
 * migrate.failure and migrate.backfill carry key values and error texts of
 * users' tables: those are shown through views that ask for the right to read the table.
 */
GRANT USAGE ON SCHEMA migrate TO PUBLIC;
GRANT SELECT ON migrate.managed, migrate.migration, migrate.added_column,
	migrate.assignment, migrate.footprint, migrate.release, migrate.release_migration,
	migrate.publication, migrate.published_view TO PUBLIC;
