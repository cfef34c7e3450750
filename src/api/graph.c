/*
 * api/graph.c
 *		migrate.graph(), migrate.plan(), migrate.backport_base().
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "api/arguments.h"
#include "catalog/graph_load.h"
#include "lifecycle/graph_ask.h"
#include "lifecycle/graph_draw.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_graph);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_plan);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_backport_base);

Datum
migrate_graph(PG_FUNCTION_ARGS)
{
	char	   *format = migrate_arg_required_text(fcinfo, 0, "format");

	PG_RETURN_TEXT_P(cstring_to_text(migrate_graph_draw(migrate_graph_load(), format)));
}

Datum
migrate_plan(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;
	List	   *steps;

	InitMaterializedSRF(fcinfo, 0);
	steps = migrate_graph_plan(migrate_arg_text(fcinfo, 0));
	foreach(lc, steps)
	{
		PlanStep   *step = lfirst(lc);
		Datum		values[] = {
			Int32GetDatum(foreach_current_index(lc) + 1),
			CStringGetTextDatum(step->migration),
			CStringGetTextDatum(step->action),
			CStringGetTextDatum(step->state),
		};
		bool		nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
migrate_backport_base(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;
	List	   *points;

	InitMaterializedSRF(fcinfo, 0);
	points = migrate_graph_backport_base(migrate_arg_required_text(fcinfo, 0, "name"));
	foreach(lc, points)
	{
		BasePoint  *point = lfirst(lc);
		Datum		values[] = {
			point->migration ? CStringGetTextDatum(point->migration) : (Datum) 0,
			BoolGetDatum(point->possible),
			point->reason ? CStringGetTextDatum(point->reason) : (Datum) 0,
		};
		bool		nulls[] = {point->migration == NULL, false, point->reason == NULL};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
