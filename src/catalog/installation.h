/*
 * catalog/installation.h
 *		Our extension in this database, and whether this library serves it.
 */
#ifndef MIGRATE_CATALOG_INSTALLATION_H
#define MIGRATE_CATALOG_INSTALLATION_H

typedef struct Installation
{
	Oid			owner;
	char	   *version;		/* of the SQL objects */
	bool		is_served;		/* by this library */
} Installation;

/* False where this database does not have the extension. */
extern bool migrate_installation_read(Installation *installation);

/* Raises object_not_in_prerequisite_state where it is not served. */
extern void migrate_installation_check(const Installation *installation);

#endif							/* MIGRATE_CATALOG_INSTALLATION_H */
