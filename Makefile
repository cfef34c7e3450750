# migrate: online data migration inside PostgreSQL. Built with PGXS.
#
#	make, make install, make installcheck		as with every extension
#	make lint, make format						the house rules of the C code
#	make freeze NEXT=1.1						after a release: begin the next version
#	make demo									what it does, on a live table
#	make sqlsmith								random statements against internal errors
#	make bench ROWS=2000000 ROUNDS=5			what a migration costs, beside what others cost
#	make bench-report							doc/performance.md of what was measured
#	make soak MINUTES=60						the tests against a model, for that long
#	make check-all								all tests on every server that is there
#	make check-assert check-core check-valgrind	those on servers built from source
#
# New sources, tests and scripts are found by their folder and need no line here.
# To build outside of this folder: make -f THIS/Makefile VPATH=THIS, after a "make clean"
# here: make would take the objects that lie in this folder for its own.

EXTENSION = migrate
MODULE_big = migrate
PGFILEDESC = "migrate - online data migration"

TREE := $(or $(VPATH),.)
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(TREE)/$(EXTENSION).control)
in_source = $(sort $(patsubst $(TREE)/%,%,$(wildcard $(addprefix $(TREE)/,$(1)))))

OBJS := $(patsubst %.c,%.o,$(call in_source,src/*.c src/*/*.c))

# The install script: the tables first, then what is done with them, the views
# on both, and the privileges on all of it.
SQL_FIRST := $(addprefix src/sql/,tables.sql define.sql expand.sql write.sql read.sql backfill.sql)
SQL_LAST := $(addprefix src/sql/,contract.sql views.sql privileges.sql)
SQL_UPGRADES := $(call in_source,src/sql/$(EXTENSION)--*--*.sql)
SQL_ALL := $(filter-out $(SQL_UPGRADES),$(call in_source,src/sql/*.sql))
SQL_PARTS := $(filter $(SQL_ALL),$(SQL_FIRST)) \
	$(filter-out $(SQL_FIRST) $(SQL_LAST),$(SQL_ALL)) \
	$(filter $(SQL_ALL),$(SQL_LAST))
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DATA = $(SQL_UPGRADES) $(call in_source,src/sql/released/*.sql)

# Server 15 marks nothing for export and so exports everything; later ones bring
# this definition along.
PG_CPPFLAGS = -I$(srcdir)/src '-DMIGRATE_VERSION="$(EXTVERSION)"' '-DPGDLLEXPORT=__attribute__((visibility("default")))'
PG_CFLAGS = -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers

# No bitcode for the server's JIT, even where it was built with it: nothing here
# is worth inlining into an expression, and it would take clang to build.
ifneq ($(origin with_llvm),command line)
override with_llvm = no
endif

# pg_regress and pg_isolation_regress start servers of their own, preloaded; the
# TAP tests make theirs. (A suite without a test is left out: PGXS would stop.)
NO_LOCALE = 1
ENCODING = UTF8
TEMP_SERVER = --temp-config=$(srcdir)/test/preload.conf --temp-instance=
REGRESS_TESTS := $(patsubst sql/%.sql,%,$(call in_source,sql/*.sql))
ifneq ($(REGRESS_TESTS),)
REGRESS = $(REGRESS_TESTS)
REGRESS_OPTS = $(TEMP_SERVER)tmp_check
endif
ISOLATION_TESTS := $(patsubst test/isolation/specs/%.spec,%,$(call in_source,test/isolation/specs/*.spec))
ifneq ($(ISOLATION_TESTS),)
ISOLATION = $(ISOLATION_TESTS)
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation $(TEMP_SERVER)tmp_check_iso
endif
PROVE_TESTS := $(call in_source,test/tap/*.pl)
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

# The server to check on, as check-core takes it; PGXS has a VERSION of its own.
TESTED_VERSION := $(VERSION)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

.DELETE_ON_ERROR:

$(DATA_built): $(SQL_PARTS)
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; \
		cat $^; } > $@

# Every object depends on every header: the tree is small, and a stale object
# across a changed struct is not worth the seconds saved.
$(OBJS): $(call in_source,src/*.h src/*/*.h) $(EXTENSION).control

ifneq ($(VPATH),)
$(shell mkdir -p $(sort $(dir $(OBJS))))
endif

.PHONY: lint format freeze demo sqlsmith soak bench bench-report check-all check-assert check-core \
	check-valgrind

lint: all
	PG_CONFIG='$(PG_CONFIG)' LIBRARY='$(CURDIR)/$(shlib)' $(srcdir)/test/lint/run

format:
	cd $(srcdir) && sh test/lint/format --apply

# The version in the making was released: keep its install script, and begin NEXT.
freeze: $(DATA_built)
	@test -n '$(NEXT)' || { echo 'make freeze NEXT=version' >&2; exit 1; }
	cp $(DATA_built) $(srcdir)/src/sql/released/
	cd $(srcdir)/src/sql/released && sha256sum $(DATA_built) >> SHA256SUMS
	printf '%s\n' '\echo Use "ALTER EXTENSION $(EXTENSION) UPDATE TO '"'$(NEXT)'"'" to load this file. \quit' \
		> $(srcdir)/src/sql/$(EXTENSION)--$(EXTVERSION)--$(NEXT).sql
	cd $(srcdir) && sed -i "s/^default_version = .*/default_version = '$(NEXT)'/" $(EXTENSION).control && \
		sed -i 's/"version": "$(EXTVERSION)\.[0-9]*"/"version": "$(NEXT).0"/' META.json

# Needs the library installed, starts a server of its own.
demo:
	PG_CONFIG='$(PG_CONFIG)' $(srcdir)/test/demo.d/run

# The same with SQLsmith, which has to be installed too.
sqlsmith:
	PG_CONFIG='$(PG_CONFIG)' $(srcdir)/test/sqlsmith.d/run

# Needs the library installed. SEED=n begins with that seed, else with a random one.
MINUTES ?= 60
soak:
	PG_CONFIG='$(PG_CONFIG)' PGXS_TOP='$(dir $(PGXS))../..' MINUTES='$(MINUTES)' SEED='$(SEED)' $(srcdir)/test/soak

# Needs the library installed, in a server built without assertions. The head of
# the script has what else it heeds.
bench:
	PG_CONFIG='$(PG_CONFIG)' $(if $(ROWS),ROWS='$(ROWS)') $(if $(ROUNDS),ROUNDS='$(ROUNDS)') \
		$(srcdir)/test/bench/run

bench-report:
	$(srcdir)/test/bench/report

# These choose, build and install for themselves, in a temporary folder. Each script's head
# comment has its settings; one that is told to use a certain server is called itself.
check-all check-assert check-core check-valgrind:
	env -u PG_CONFIG VERSION='$(TESTED_VERSION)' $(TREE)/test/$@
