/*
 * convert/conversion.h
 *		How the rows of one relation are carried from form to form.
 *
 * A Conversion is compiled from the catalog for one relation (a managed
 * table, a managed partitioned table, or any partition of one: attribute
 * numbers are always those of the relation itself) and kept per backend.
 */
#ifndef MIGRATE_CONVERT_CONVERSION_H
#define MIGRATE_CONVERT_CONVERSION_H

#include "access/transam.h"
#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"

/* One column's value computed from others of the same row. */
typedef struct Assignment
{
	AttrNumber	target;
	Expr	   *expr;			/* its Vars: varno 1, this relation's attributes */
	struct Subquery *subquery;	/* what to run where it holds a sub-query; else NULL */
	Bitmapset  *inputs;			/* the attributes that it reads */
	bool		inlinable;		/* immutable and built in: safe under any role */
	bool		in_place;		/* of up: rewrites a column that was there before */
	bool		generated;		/* follows an up; the server computes what is stored */
} Assignment;

/* What becomes of statements that use a column which a migration removes. */
typedef enum Deprecation
{
	DEPRECATION_NONE,			/* nothing, and nobody counts them */
	DEPRECATION_LOG,			/* they are counted */
	DEPRECATION_WARNING,		/* and warned */
	DEPRECATION_ERROR			/* and refused */
} Deprecation;

/* A migration that is expanded or complete: both of its forms are kept. */
typedef struct LiveMigration
{
	char	   *name;
	int32		version;		/* rows below it are stale */
	bool		complete;
	bool		defers;			/* on_error is "defer" */
	bool		proof_due;		/* no constraint holds new rows to its version yet */
	Deprecation deprecation;	/* of the columns that it removes */
	FullTransactionId completed_xid;	/* who sees it sees every row converted */
	char	   *lacked_by;		/* the oldest release in support that lacks it; NULL: none */
	Bitmapset  *added;			/* attributes of the new form */
	Bitmapset  *rewritten;		/* attributes that up assigns in place */
	Bitmapset  *removed;		/* attributes that contract will drop */
	Bitmapset  *replaced;		/* those of them whose names new ones will have */
	Bitmapset  *named;			/* attributes that its expressions name as inputs */
	Bitmapset  *touched;		/* what it adds, removes, reads or assigns */
	Assignment *needed;			/* boolean, without target: rows where it is not TRUE need no
								 * conversion; NULL: all rows do */
	int32		needed_from;	/* rows below it are moved all the same */
	List	   *ups;			/* of Assignment *: the new form from the old */
	List	   *downs;			/* of Assignment *: the old form from the new */
} LiveMigration;

struct Converter;

typedef struct Conversion
{
	Oid			relid;			/* whose attribute numbers these are */
	Oid			root;			/* the managed table: relid or its ancestor */
	Oid			owner;			/* of root: as whom expressions run */
	bool		paused;			/* nobody converts its rows but who writes them */
	AttrNumber	version_attno;
	int32		version;		/* what a converted row is stamped with */
	int32		floor;			/* the oldest version that can be upgraded */
	int			nlive;
	LiveMigration *live;		/* by ascending version */
	TupleDesc	tupdesc;		/* a copy of the relation's */
	Oid			reltype;		/* the relation's row type */
	bool		all_inlinable;	/* every expression of every live migration is */
	Bitmapset  *touched;		/* what any live migration adds, removes, reads or assigns */
	bool		defers;			/* of some live migration writes may be deferred at present */
	bool		has_minimum;	/* some live migration is lacked by a release in support */

	/*
	 * The columns that deprecated migrations remove, and column zero, the whole
	 * row; offset as in sets of columns that privileges are asked for. NULL: none.
	 */
	Bitmapset  *deprecated;

	/* below: private to the module */
	bool		valid;
	Expr	 ***reading;		/* [first stale migration][attno - 1], lazily */
	struct Converter *idle;		/* evaluators not in use */
	MemoryContext context;
} Conversion;

extern void migrate_conversion_init(void);

/*
 * The conversion of a relation, or NULL where it has no live migration. The
 * caller holds a lock on the relation. The pointer stays good to the end of
 * the transaction, though a later call may return a newer one.
 */
extern Conversion *migrate_conversion_get(Oid relid);

/* Is any relation of this database known or suspected to have a live migration? Cheap. */
extern bool migrate_conversion_any(void);

/* Likewise, a deprecated column? */
extern bool migrate_conversion_any_deprecated(void);

/*
 * Has any relation of this database stale rows, as far as a plan made under the
 * active snapshot is concerned? Cheap, but less so.
 */
extern bool migrate_conversion_any_stale(void);

/*
 * The first live migration (index into live) of which a plan made under the
 * active snapshot may meet stale rows; nlive where there is none.
 */
extern int	migrate_conversion_first_stale(const Conversion *conversion);

/* The first of them that is not complete; nlive where there is none. */
extern int	migrate_conversion_first_incomplete(const Conversion *conversion);

/*
 * What column attno reads as when the migrations before first_stale are
 * settled: an expression over varno 1, varlevelsup 0, of the column's own type,
 * typmod and collation; NULL where the stored value is right.
 */
extern const Expr *migrate_conversion_reading(Conversion *conversion,
											  int first_stale, AttrNumber attno);

/*
 * The conversion that a relation would have if those migrations (of Migration *,
 * oldest first) of "root", its table, were expanded as well. Its columns are the
 * relation's and then those that would be added: a row version, where there is
 * none yet, and the migrations' in their order. Not cached, in the caller's memory.
 */
extern Conversion *migrate_conversion_expect(Oid relid, Oid root, List *migrations);

/* Is a write for which up of the migration fails stored all the same, without it? */
extern bool migrate_conversion_may_defer(const LiveMigration *migration);

/* Does the state in which the catalog has a migration count as live? */
extern bool migrate_conversion_is_live_state(const char *state);

/* What a word of migrate.deprecate() stands for; DEPRECATION_NONE: nothing. */
extern Deprecation migrate_conversion_deprecation(const char *name);

/* After a change of what is live: every backend looks again. Includes partitions. */
extern void migrate_conversion_invalidate(Oid root);

#endif							/* MIGRATE_CONVERT_CONVERSION_H */
