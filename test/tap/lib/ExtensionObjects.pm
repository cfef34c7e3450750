# Every object of the extension as text, a line or more for each, without what differs
# between two databases that are the same: OIDs, and the order of a table's columns.
package ExtensionObjects;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(objects_of);

# What is a member, and what hangs on one: rows of class, object, column.
my $members = <<'SQL';
CREATE TEMP VIEW member AS
SELECT classid, objid FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'migrate');
CREATE TEMP VIEW relation AS SELECT c.* FROM pg_class c JOIN member ON classid = 'pg_class'::regclass AND objid = c.oid;
CREATE TEMP VIEW acl AS SELECT 'pg_class'::regclass AS class, oid, relacl AS acl FROM pg_class
UNION ALL SELECT 'pg_proc'::regclass, oid, proacl FROM pg_proc
UNION ALL SELECT 'pg_type'::regclass, oid, typacl FROM pg_type
UNION ALL SELECT 'pg_namespace'::regclass, oid, nspacl FROM pg_namespace;
SQL

my @queries = (
	# That it is there, its rights and its comment, whatever it is. (A table's row type comes with it.)
	q{SELECT pg_describe_object(classid, objid, 0),
		(SELECT array_agg(x::text ORDER BY x::text) FROM acl, unnest(acl) x WHERE class = classid AND oid = objid),
		(SELECT array_agg(x::text ORDER BY x::text) FROM pg_init_privs i, unnest(initprivs) x
			WHERE i.classoid = classid AND i.objoid = objid AND i.objsubid = 0),
		obj_description(objid, classid::regclass::name) FROM member},
	q{SELECT extrelocatable, extnamespace::regnamespace, extversion,
		(SELECT array_agg(x::regclass::text || ' ' || condition ORDER BY x::regclass::text)
			FROM unnest(extconfig, extcondition) y(x, condition)) FROM pg_extension WHERE extname = 'migrate'},
	q{SELECT pg_get_functiondef(objid) FROM member JOIN pg_proc p ON p.oid = objid
		WHERE classid = 'pg_proc'::regclass AND prokind <> 'a'},
	q{SELECT oid::regclass, relkind, relpersistence, reloptions, relrowsecurity, relforcerowsecurity,
		relreplident, CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END FROM relation},
	q{SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
		attgenerated, attstorage, attstattarget, (SELECT array_agg(o ORDER BY o) FROM unnest(attoptions) o WHERE o NOT LIKE 'pg_attver=%') AS attoptions, attacl, attcollation::regcollation,
		pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
		FROM relation r JOIN pg_attribute ON attrelid = r.oid
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attnum > 0 AND NOT attisdropped},
	q{SELECT conrelid::regclass, conname, convalidated, pg_get_constraintdef(c.oid),
		obj_description(c.oid, 'pg_constraint') FROM pg_constraint c JOIN relation r ON r.oid = conrelid},
	q{SELECT pg_get_indexdef(indexrelid), indisvalid, indisclustered FROM pg_index JOIN relation r ON r.oid = indrelid},
	q{SELECT pg_get_triggerdef(t.oid), tgenabled FROM pg_trigger t JOIN relation r ON r.oid = tgrelid WHERE NOT tgisinternal},
	q{SELECT pg_get_ruledef(w.oid) FROM pg_rewrite w JOIN relation r ON r.oid = ev_class},
	q{SELECT seqrelid::regclass, format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcycle
		FROM pg_sequence JOIN relation r ON r.oid = seqrelid},
	q{SELECT evtname, evtevent, evtfoid::regprocedure, evtenabled, evttags FROM pg_event_trigger
		JOIN member ON classid = 'pg_event_trigger'::regclass AND objid = oid},
	q{SELECT t.oid::regtype, typtype, typnotnull, typdefault, format_type(typbasetype, typtypmod)
		FROM pg_type t JOIN member ON classid = 'pg_type'::regclass AND objid = t.oid},
	# Nothing may lie in its schema that is not its own.
	q{SELECT 'not a member', pg_describe_object(classid, objid, 0) FROM pg_depend d
		WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'migrate'::regnamespace
		AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classid AND m.objid = d.objid)},
);

sub objects_of
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, $members . join '', map { "$_;" } @queries);
}

1;
