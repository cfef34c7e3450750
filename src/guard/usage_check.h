/*
 * guard/usage_check.h
 *		Is the old form still in use? Two of the checks before a contract.
 */
#ifndef MIGRATE_GUARD_USAGE_CHECK_H
#define MIGRATE_GUARD_USAGE_CHECK_H

#include "guard/contract_gate.h"

extern void migrate_usage_check_window(const Migration *migration, GateFinding *finding);
extern void migrate_usage_check_uses(const Migration *migration, GateFinding *finding);

#endif							/* MIGRATE_GUARD_USAGE_CHECK_H */
