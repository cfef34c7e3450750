/*
 * catalog/use_counter.h
 *		How often deprecated columns were used, in shared memory.
 */
#ifndef MIGRATE_CATALOG_USE_COUNTER_H
#define MIGRATE_CATALOG_USE_COUNTER_H

#include "access/attnum.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"

#define USE_READ	'r'
#define USE_WRITE	'w'

/* Who uses what. Compared as bytes: make one by migrate_use_key(). */
typedef struct UseKey
{
	Oid			database;
	Oid			relation;		/* the managed table */
	Oid			role;			/* InvalidOid: of whom there was no room to tell */
	AttrNumber	attno;			/* of that table */
	char		kind;			/* USE_READ or USE_WRITE */
	char		application_name[NAMEDATALEN];
} UseKey;

/* What a backend keeps of a counter, to find it again at no cost. */
typedef struct UseCounterRef
{
	int			place;
	uint32		generation;
} UseCounterRef;

/* A counter as it was when it was looked at. */
typedef struct UseCount
{
	UseKey		key;
	UseCounterRef ref;
	uint64		count;
	TimestampTz first_used;
	TimestampTz last_used;
} UseCount;

extern void migrate_use_counter_init(void);

extern void migrate_use_key(UseKey *key, Oid relation, AttrNumber attno, char kind,
							Oid role, const char *application_name);

/* The name of its role; the number of one that was dropped; empty where it has none. */
extern char *migrate_use_role_name(const UseKey *key);

/* The counter for a key, made if need be; false where there is no room for any. */
extern bool migrate_use_counter_find(const UseKey *key, TimestampTz now, UseCounterRef *ref);

/* Count one use; false where the counter is somebody else's by now. Takes no lock. */
extern bool migrate_use_counter_add(UseCounterRef ref, TimestampTz now);

/* Those of this database that count something: of UseCount *. */
extern List *migrate_use_counter_list(void);

/* The databases in which something is counted: OIDs. */
extern List *migrate_use_counter_databases(void);

/* The database was dropped. */
extern void migrate_use_counter_discard(Oid database);

/* So much of what it counts is recorded elsewhere. */
extern void migrate_use_counter_subtract(UseCounterRef ref, uint64 count);

/* When a use was last not counted at all for want of room, in any database; 0: never. */
extern TimestampTz migrate_use_counter_lost(void);
extern void migrate_use_counter_lose(TimestampTz now);

#endif							/* MIGRATE_CATALOG_USE_COUNTER_H */
