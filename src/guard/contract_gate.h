/*
 * guard/contract_gate.h
 *		May a migration be contracted? All reasons against it, not the first.
 */
#ifndef MIGRATE_GUARD_CONTRACT_GATE_H
#define MIGRATE_GUARD_CONTRACT_GATE_H

#include "catalog/migration.h"

typedef struct GateFinding
{
	const char *check;
	bool		ok;
	bool		may_pass;		/* not ok now, but waiting may help */
	char	   *detail;			/* NULL where there is nothing to say; a note where it is ok */
	char	   *hint;
} GateFinding;

/*
 * A finding (GateFinding *) of every check but those skipped (of char *); with
 * notes, also what does not stand in the way and is good to know.
 */
extern List *migrate_gate_run(const Migration *migration, List *skip, bool with_notes);

/* The columns (of char *) that contracting a migration drops. */
extern List *migrate_gate_columns_to_drop(const Migration *migration);

#endif							/* MIGRATE_GUARD_CONTRACT_GATE_H */
