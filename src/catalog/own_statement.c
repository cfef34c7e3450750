/*
 * catalog/own_statement.c
 *		Telling our own statements on users' tables from everybody else's.
 *
 * What they name is no use of a deprecated column (read/usage.c). They are told by a
 * hook that comes with their parameters, and with nobody else's: an address in this
 * library is nothing that a client could write. The hook has nothing to do. What is
 * called by such a statement and runs others has parameters of its own.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "parser/parse_node.h"

#include "catalog/own_statement.h"

static void
setup_nothing(ParseState *pstate, void *arg)
{
}

ParamListInfo
migrate_own_params(int nparams)
{
	ParamListInfo params = makeParamList(nparams);

	params->parserSetup = setup_nothing;
	return params;
}

bool
migrate_own_params_are(const ParamListInfoData *params)
{
	return params != NULL && params->parserSetup == setup_nothing;
}

void
migrate_own_query(const char *sql, uint64 max_rows)
{
	SPIExecuteOptions options = {
		.params = migrate_own_params(0),
		.read_only = true,
		.tcount = max_rows,
	};
	int			rc = SPI_execute_extended(sql, &options);

	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(rc));
}
