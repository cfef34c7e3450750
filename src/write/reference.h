/*
 * write/reference.h
 *		What a REFERENCES in "add" refers to.
 */
#ifndef MIGRATE_WRITE_REFERENCE_H
#define MIGRATE_WRITE_REFERENCE_H

#include "access/attnum.h"
#include "nodes/pg_list.h"

typedef struct Reference
{
	Oid			relid;			/* the referenced table */
	AttrNumber	attno;			/* the referenced column */
	Oid			index;			/* that makes it a key */
	Oid			equality;		/* operator: the key's column, and the value */
	Oid			operand;		/* the type to which the value is cast first; or InvalidOid */
} Reference;

/*
 * Find out; "column" is a name or, NULL, the table's primary key. Raises the
 * server's errors where there is no key, or none that a value of that type can
 * be compared with. The caller holds a lock on the table.
 */
extern Reference migrate_reference_resolve(Oid relid, const char *column, Oid type);

/* "SELECT 1 FROM the referenced table p WHERE its key is equal to <value>". */
extern char *migrate_reference_query(const Reference *reference, const char *value);

#endif							/* MIGRATE_WRITE_REFERENCE_H */
