/*
 * lifecycle/breach.h
 *		Naming the rows that break a constraint of the new form.
 */
#ifndef MIGRATE_LIFECYCLE_BREACH_H
#define MIGRATE_LIFECYCLE_BREACH_H

/* How rows break a constraint. */
typedef struct Breach
{
	const char *migration;
	const char *condition;		/* what is true of rows "r" that do */

	/*
	 * As whom to look for them, restricted: the table's owner, for conditions
	 * and keys may run code of the owner's; or a superuser, where the owner need
	 * not be able to read another table, and all that is run is built in.
	 */
	Oid			searcher;
	int			sqlerrcode;
	const char *message;
} Breach;

/* Record them as failures; false where there are none. */
extern bool migrate_breach_record(Oid root, const Breach *breach);

#endif							/* MIGRATE_LIFECYCLE_BREACH_H */
