/*
 * backfill/origin.c
 *		Marking what the backfill writes for logical decoding.
 *
 * Consumers that convert rows themselves, or do not care for the new form, can
 * leave out what comes from the replication origin "migrate": subscriptions
 * with origin = none do, and so can any output plugin.
 *
 * Each changed row is marked, the commit is not. The server keeps the progress of an
 * origin that commits name, for one process at a time and in a slot that a
 * standby has to have free as well, or its recovery ends; and we replay nothing
 * whose progress there would be to keep. Decoding asks row by row.
 *
 * The origin is made when it is first needed: a dump does not carry it.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "backfill/origin.h"
#include "migrate.h"

/* Of what two sessions make at once, one fails, and its step is tried again. */
static RepOriginId
find_origin(void)
{
	char		name[] = MIGRATE_EXTENSION;
	RepOriginId origin = replorigin_by_name(name, true);

	return origin != InvalidRepOriginId ? origin : replorigin_create(name);
}

RepOriginId
migrate_origin_begin(void)
{
	RepOriginId before = replorigin_session_origin;

	if (XLogLogicalInfoActive())
		replorigin_session_origin = find_origin();
	return before;
}

void
migrate_origin_end(RepOriginId before)
{
	replorigin_session_origin = before;
}
