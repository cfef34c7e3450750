# migrate: online data migration inside PostgreSQL. Built with PGXS.

EXTENSION = migrate
EXTVERSION = 0.1
MODULE_big = migrate
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PGFILEDESC = "migrate - online data migration"

# The install script, in the order in which its parts build on each other.
SQL_PARTS = src/sql/tables.sql src/sql/define.sql src/sql/expand.sql \
	src/sql/write.sql src/sql/read.sql src/sql/backfill.sql \
	src/sql/contract.sql src/sql/views.sql src/sql/privileges.sql
DATA_built = $(EXTENSION)--$(EXTVERSION).sql

# Server 15 leaves this empty, and exports everything; we hide all but what is marked.
PG_CPPFLAGS = -I$(CURDIR)/src -D'PGDLLEXPORT=__attribute__((visibility("default")))'
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -fvisibility=hidden

# pg_regress starts a server of its own, preloaded.
REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --temp-instance=tmp_check --temp-config=test/preload.conf
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --temp-instance=tmp_check_iso --temp-config=test/preload.conf
TAP_TESTS = 1
PROVE_TESTS = $(sort $(wildcard test/tap/*.pl))
EXTRA_CLEAN = tmp_check tmp_check_iso output_iso results log

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): $(SQL_PARTS)
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; cat $^; } > $@

# Every object depends on every header: the tree is small, and a stale object
# across a changed struct is not worth the seconds saved.
$(OBJS): $(wildcard src/*.h src/*/*.h)
