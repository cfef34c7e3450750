/*
 * catalog/own_statement.h
 *		Telling our own statements on users' tables from everybody else's.
 */
#ifndef MIGRATE_CATALOG_OWN_STATEMENT_H
#define MIGRATE_CATALOG_OWN_STATEMENT_H

#include "nodes/params.h"

/* Parameters to run such a statement with, to be filled in as those of makeParamList(). */
extern ParamListInfo migrate_own_params(int nparams);

/* Was a statement run with such? */
extern bool migrate_own_params_are(const ParamListInfoData *params);

/* Run one that reads, within SPI; the result is in SPI_tuptable. */
extern void migrate_own_query(const char *sql, uint64 max_rows);

#endif							/* MIGRATE_CATALOG_OWN_STATEMENT_H */
