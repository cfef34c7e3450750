/*
 * init.c
 *		What the library brings, in the order in which it is set up.
 *
 * Hooks and callbacks are put in place only when the postmaster loads the
 * library at its start: in a backend that loaded it alone, other backends
 * would read rows as stored.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "catalog/use_counter.h"
#include "compat.h"
#include "convert/conversion.h"
#include "convert/converter.h"
#include "convert/pin.h"
#include "guard/ddl_hooks.h"
#include "guc.h"
#include "lifecycle/use_flush.h"
#include "migrate.h"
#include "read/inline_guard.h"
#include "read/planner_hook.h"
#include "read/release_check.h"
#include "read/usage.h"
#include "shmem.h"
#include "worker/make_way.h"
#include "worker/worker.h"
#include "write/copy_frame.h"

COMPAT_MODULE_MAGIC(MIGRATE_LIBRARY, MIGRATE_VERSION);

bool		migrate_is_preloaded = false;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	migrate_guc_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	migrate_is_preloaded = true;

	migrate_shmem_init();
	migrate_use_counter_init();
	migrate_conversion_init();
	migrate_converter_init();
	migrate_pin_init();
	migrate_copy_frame_init();
	migrate_planner_hook_init();
	migrate_inline_guard_init();
	migrate_release_check_init();
	migrate_usage_init();
	migrate_ddl_hooks_init();
	migrate_use_flush_init();
	migrate_make_way_init();
	migrate_worker_init();
}
