/*
 * catalog/store.h
 *		Reaching the extension's own tables.
 */
#ifndef MIGRATE_CATALOG_STORE_H
#define MIGRATE_CATALOG_STORE_H

#include "executor/spi.h"

/* An argument of a statement on our tables. */
typedef struct StoreArg
{
	Oid			type;
	Datum		value;
	bool		isnull;
} StoreArg;

extern StoreArg store_text(const char *value);	/* NULL pointer: SQL NULL */
extern StoreArg store_name(const char *value);
extern StoreArg store_relation(Oid value);
extern StoreArg store_oid(Oid value);
extern StoreArg store_int(int32 value);
extern StoreArg store_bigint(int64 value);
extern StoreArg store_char(char value);
extern StoreArg store_bool(bool value);
extern StoreArg store_text_array(List *strings);
extern StoreArg store_name_array(List *names);
extern StoreArg store_datum(Oid type, Datum value, bool isnull);

#define STORE_ARGS(...) \
	lengthof(((StoreArg[]) {__VA_ARGS__})), (StoreArg[]) {__VA_ARGS__}
#define STORE_NO_ARGS	0, NULL

/* Another role's identity, put on for a while; nests, and an error takes it off. */
typedef struct StoreIdentity
{
	Oid			userid;
	int			sec_context;
	int			guc_nestlevel;
} StoreIdentity;

extern void migrate_store_become_owner(StoreIdentity *saved);
extern void migrate_store_become_restricted(StoreIdentity *saved, Oid role);
extern void migrate_store_become_self(const StoreIdentity *saved);

extern Oid	migrate_store_extension_owner(void);
extern Oid	migrate_store_table(const char *name);
extern Oid	migrate_store_index(const char *name);
extern Oid	migrate_store_function(const char *name, int nargs, const Oid *argtypes);

extern Oid	migrate_store_relation_owner(Oid relid);

/*
 * Run one statement within SPI, as whom it is by then; the result is in
 * SPI_tuptable. It sees, as do all below, what is committed by now.
 */
extern uint64 migrate_store_spi(const char *sql, int nargs, const StoreArg *args);

extern uint64 migrate_store_execute(const char *sql, int nargs, const StoreArg *args);
extern char *migrate_store_fetch(const char *sql, int nargs, const StoreArg *args);
extern bool migrate_store_fetch_row(const char *sql, int nargs, const StoreArg *args,
									int ncolumns, char **columns);
extern List *migrate_store_fetch_list(const char *sql, int nargs, const StoreArg *args);
extern List *migrate_store_fetch_rows(const char *sql, int nargs, const StoreArg *args,
									  int ncolumns);
extern void migrate_store_ddl(Oid relid, const char *sql);

/* A relation's name as it can be written in SQL, qualified and quoted. */
extern char *migrate_store_relation_sql(Oid relid);

#endif							/* MIGRATE_CATALOG_STORE_H */
