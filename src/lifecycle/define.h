/*
 * lifecycle/define.h
 *		Recording a migration.
 */
#ifndef MIGRATE_LIFECYCLE_DEFINE_H
#define MIGRATE_LIFECYCLE_DEFINE_H

#include "catalog/migration.h"

/*
 * A definition as the user gave it; strings NULL and lists NIL where left out,
 * but depends_on, where NIL counts only if has_depends_on.
 */
typedef struct Definition
{
	char	   *name;
	Oid			relid;
	char	   *add;
	char	   *up;
	char	   *down;
	List	   *remove;			/* of char * */
	char	   *needed;
	List	   *depends_on;		/* of char * */
	bool		has_depends_on;
	char	   *on_error;
	char	   *comment;
} Definition;

/* The schemas that the caller's names are looked up in, as a value for search_path. */
extern char *migrate_lifecycle_search_path(void);

extern void migrate_lifecycle_define(Definition *definition);
extern void migrate_lifecycle_cook_again(Migration *migration);
extern void migrate_lifecycle_forget(const char *name);

#endif							/* MIGRATE_LIFECYCLE_DEFINE_H */
