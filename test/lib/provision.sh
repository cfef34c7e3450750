# shellcheck shell=bash
#
# provision.sh: what the scripts of test/ share that need nothing to be prepared.
# Sourced by bash.
#
# provision PACKAGE... leaves a place in which the extension is built and
# installed, and sets
#
#	work		a temporary folder, removed at exit ($KEEP=1 keeps it)
#	work/tree	a copy of the source tree
#	PG_CONFIG	that of the server to use, into which "make install" may go
#	pgbouncer	that program, if $wants_pgbouncer; empty where it is not to be had
#	run			the words to put before a command to have it run as the user who
#				owns all this, in an environment without surprises
#
# Nothing is written to the source tree, nor to the installed server: its
# programs find their files by where they lie themselves, so a copy of them
# under work/server, at the same paths as in the system, is a server of its own.
# Hence an ordinary user can run this who may install nothing, and root can
# without the extension being left behind in the system. Where root
# calls, all of it runs as "nobody": PostgreSQL refuses root, and tests should not
# have the rights of a user whom something belongs to.
#
# Packages are installed only where something is missing, and only Debian's and
# its descendants' are known by name. No cluster is created by that.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
supported="18 17 16 15"
run=()
work=''
pgbouncer=''

# What is made here is not part of what a "make" that calls this makes: its settings are for its
# own tree, and PostgreSQL makes its generated headers only where it is no part of another.
unset MAKELEVEL MAKEFLAGS MFLAGS MAKEOVERRIDES

say()
{
	printf '%s\n' "== $*"
}

die()
{
	printf '%s\n' "$(basename "$0"): $*" >&2
	exit 2
}

# ---- which server ------------------------------------------------------------

major_of()		# PG_CONFIG
{
	"$1" --version 2> /dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
}

is_supported()	# MAJOR
{
	case " $supported " in *" ${1:-none} "*) return 0 ;; esac
	return 1
}

# Sets PG_CONFIG to the given server's, else the newest installed one's; leaves it
# empty where there is none.
find_server()
{
	local candidate bindir version

	if [ -n "${PG_CONFIG:-}" ]; then
		PG_CONFIG=$(command -v "$PG_CONFIG") || die "PG_CONFIG names no program"
		is_supported "$(major_of "$PG_CONFIG")" ||
			die "$PG_CONFIG is not of a PostgreSQL that is supported: $supported"
		return
	fi
	for version in $supported; do
		candidate=/usr/lib/postgresql/$version/bin/pg_config
		if [ -x "$candidate" ] && [ -x "${candidate%/*}/postgres" ]; then
			PG_CONFIG=$candidate
			return
		fi
	done
	PG_CONFIG=''
	candidate=$(command -v pg_config) || return 0
	bindir=$("$candidate" --bindir 2> /dev/null)
	if [ -x "$bindir/postgres" ] && is_supported "$(major_of "$candidate")"; then
		PG_CONFIG=$candidate
	fi
}

# The version that the distribution has, as far as apt knows by now.
packaged_version()
{
	apt-cache show postgresql 2> /dev/null |
		sed -n 's/^Depends:.*postgresql-\([0-9][0-9]*\).*/\1/p' | sort -n | tail -n 1
}

# ---- what is missing -----------------------------------------------------------

have_file()		# PATH: below /usr/include, also in its folder for this architecture
{
	[ -e "/usr/include/$1" ] || compgen -G "/usr/include/*-linux-*/$1" > /dev/null
}

# Prints those of the packages given that are missing. The names are Debian's; a
# program that is there needs no package.
missing_packages()
{
	local package

	for package in "$@"; do
		case $package in
			gcc) command -v gcc ;;
			make) command -v make ;;
			libc6-dev) have_file stdio.h && have_file sys/types.h ;;
			binutils) command -v nm ;;
			perl) command -v prove ;;
			graphviz) command -v dot ;;
			libipc-run-perl) perl -MIPC::Run -e 1 ;;
			clang-format-* | sqlsmith | bison | flex | valgrind) command -v "$package" ;;
			dpkg-dev) command -v dpkg-source ;;
			libkrb5-dev) have_file gssapi/gssapi.h ;;
			libssl-dev) have_file openssl/ssl.h ;;
			libicu-dev) have_file unicode/ucol.h ;;
			*) false ;;
		esac > /dev/null 2>&1 || printf '%s ' "$package"
	done
}

may_be_root()
{
	[ "$(id -u)" = 0 ] && return
	command -v sudo > /dev/null || return
	sudo -n true 2> /dev/null && return
	[ -t 0 ] && [ -t 2 ] && sudo -p 'sudo, to install packages; password of %p: ' true
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt()
{
	as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -qq \
		-o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
		"$@" < /dev/null
}

# Debian's package would make a cluster and start it on port 5432; a machine on
# which it was never installed has nothing that says whether it wants that.
install_packages()
{
	local conf=/etc/postgresql-common/createcluster.conf made='' packages=("$@")

	say "installing ${packages[*]}"
	if [ ! -e $conf ]; then
		as_root sh -c "mkdir -p ${conf%/*} && echo 'create_main_cluster = false' > $conf"
		made=1
	fi
	apt install -y --no-install-recommends "${packages[@]}" > "$work/apt.log" 2>&1 || {
		tail -n 30 "$work/apt.log" >&2
		die "could not install ${packages[*]}"
	}
	if [ -n "$made" ]; then		# what the package would have put there
		as_root sh -c "rm $conf; if [ -e $conf.ucf-dist ]; then mv $conf.ucf-dist $conf; fi"
	fi
}

# Prints those of the packages given that the distribution has.
known_packages()
{
	local package

	for package in "$@"; do
		! apt-cache show "$package" > /dev/null 2>&1 || printf '%s ' "$package"
	done
}

# Installs what is missing: the server, if there is none and $builds_server is empty,
# and the packages given. Those with a "?" in front are done without where the
# distribution has none.
install_missing()
{
	local package version='' wanted=() optional=() packages=() extra=()

	for package in gcc make libc6-dev binutils perl "$@"; do
		case $package in
			\?*) optional+=("${package#\?}") ;;
			*) wanted+=("$package") ;;
		esac
	done

	[ -n "${builds_server:-}" ] || find_server
	read -r -a packages <<< "$(missing_packages "${wanted[@]}")"
	read -r -a optional <<< "$(missing_packages "${optional[@]}")"
	[ -n "${builds_server:-}${PG_CONFIG:-}" ] || packages+=(postgresql)
	if [ ${#packages[@]} -eq 0 ]; then
		[ "$(id -u)" = 0 ] && [ -n "$(known_packages "${optional[@]}")" ] || return 0
	elif ! command -v apt-get > /dev/null; then
		die "missing: what Debian calls ${packages[*]}"
	elif ! may_be_root; then
		die "missing packages: ${packages[*]}
To install them takes root or sudo: apt-get install ${packages[*]}"
	fi

	say "asking for packages"
	apt update > "$work/apt.log" 2>&1 || tail -n 5 "$work/apt.log" >&2
	read -r -a extra <<< "$(known_packages "${optional[@]}")"
	if [ -z "${builds_server:-}${PG_CONFIG:-}" ]; then
		version=$(packaged_version)
		is_supported "$version" ||
			die "this distribution has PostgreSQL ${version:-in no version}; supported: $supported"
		packages=("${packages[@]/%postgresql/postgresql-$version}")
	fi
	install_packages "${packages[@]}" "${extra[@]}"
	[ -z "${builds_server:-}" ] || return 0
	find_server
	[ -n "$PG_CONFIG" ] || die "no PostgreSQL was installed"
}

# ---- a server of our own -------------------------------------------------------

# Pgbouncer, if the system has none: its package would start a service, so it is unpacked
# with the libraries that it names. Without apt, or the network, it is done without.
unpack_pgbouncer()
{
	local root=$work/pgbouncer package packages

	pgbouncer=$(PATH=$PATH:/usr/sbin command -v pgbouncer) && return
	mkdir "$root"
	{
		download pgbouncer || { may_be_root && apt update && download pgbouncer; } || return 0
		packages=$(apt-cache depends pgbouncer |
			sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | grep -v '^libc6$')
		for package in $packages; do
			download "$package" || return 0
		done
		for package in "$work"/*.deb; do
			dpkg -x "$package" "$root" || return 0
		done
	} > "$work/apt.log" 2>&1
	pgbouncer=$root/run
	printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' \
		"$(dirname "$(find "$root/usr/lib" -name 'libevent*' -print -quit)")" \
		"$root/usr/sbin/pgbouncer" > "$pgbouncer"
	chmod 755 "$pgbouncer"
	"$pgbouncer" --version > /dev/null 2>&1 || pgbouncer=''
}

# Makes each entry of a folder, or the folder, appear below a new root as well.
link_below()	# ROOT FOLDER
{
	local entry

	[ -e "$2" ] || return 0
	if [ ! -e "$1$2" ]; then
		mkdir -p "$1${2%/*}"
		ln -s "$2" "$1$2"
	elif [ -d "$1$2" ] && [ ! -L "$1$2" ]; then
		for entry in "$2"/*; do
			[ -e "$1$entry" ] || ln -s "$entry" "$1$entry"
		done
	fi
}

# The server's headers, if they are not installed. Debian's package of them pulls
# in clang and LLVM, for a step of the build that we leave out; so it is unpacked,
# not installed. (It holds only headers and libraries to link to.)
unpack_headers()	# ROOT MAJOR
{
	local package=postgresql-server-dev-$2 version

	say "fetching $package"
	version=$(dpkg-query -W -f '${Version}' "postgresql-$2" 2> /dev/null)
	if ! { download "$package${version:+=$version}" || download "$package" ||
		{ may_be_root && apt update && download "$package"; } } > "$work/apt.log" 2>&1
	then
		tail -n 5 "$work/apt.log" >&2
		die "the server's headers are missing: $package"
	fi
	dpkg -x "$work/$package"_*.deb "$1" || die "could not unpack $package"
}

download()		# PACKAGE
{
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$1")
}

# Copies the server that PG_CONFIG names below work/server, and moves PG_CONFIG
# there. A server that was built so that its programs do not find their files
# when they are moved is used where it is, which takes the right to write to it.
private_server()
{
	local root=$work/server bindir pkglibdir sharedir folder

	bindir=$("$PG_CONFIG" --bindir)
	pkglibdir=$("$PG_CONFIG" --pkglibdir)
	sharedir=$("$PG_CONFIG" --sharedir)
	[ -x "$bindir/postgres" ] || die "there is no server in $bindir"

	mkdir -p "$root"
	if [ ! -e "$("$PG_CONFIG" --includedir-server)/postgres.h" ]; then
		case $bindir in
			/usr/lib/postgresql/*) unpack_headers "$root" "$(major_of "$PG_CONFIG")" ;;
			*) die "the headers of the server in $bindir are missing" ;;
		esac
	fi
	for folder in "$bindir" "$pkglibdir" "$sharedir"; do
		mkdir -p "$root$folder"
		cp -RLp "$folder/." "$root$folder" || die "could not copy $folder"
	done
	for folder in "$("$PG_CONFIG" --pgxs | sed 's,/src/makefiles/pgxs.mk$,,')" \
		"$("$PG_CONFIG" --includedir-server)" "$("$PG_CONFIG" --pkgincludedir)" \
		"$("$PG_CONFIG" --includedir)" "$("$PG_CONFIG" --libdir)"
	do
		link_below "$root" "$folder"
	done

	if [ "$("$root$bindir/pg_config" --pkglibdir)" = "$root$pkglibdir" ] &&
		[ "$("$root$bindir/pg_config" --sharedir)" = "$root$sharedir" ]
	then
		PG_CONFIG=$root$bindir/pg_config
		return
	fi
	if [ "$(id -u)" != 0 ] && ! { [ -w "$pkglibdir" ] && [ -w "$sharedir/extension" ]; }; then
		die "the server in $bindir cannot be copied, and installing into it takes root"
	fi
	PG_CONFIG=$bindir/pg_config
	rm -rf "$root"
	say "this server cannot be copied: the extension is installed into it"
}

# ---- the place -----------------------------------------------------------------

# A folder in which programs may be run; not that of root's own TMPDIR, which
# others cannot enter, and with a short path.
make_work()
{
	local base

	for base in /tmp /var/tmp "${TMPDIR:-/tmp}"; do
		work=$(mktemp -d "$base/migrate.XXXXXX" 2> /dev/null) || continue
		printf '#!/bin/sh\n' > "$work/try"
		chmod 755 "$work" "$work/try"
		"$work/try" 2> /dev/null && break
		rm -rf "$work"
		work=''
	done
	[ -n "$work" ] || die "no temporary folder in which programs can be run"
	rm -f "$work/try"
	trap remove_work EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# Servers that an interrupted suite left behind are ended first: those whose
# current folder, which is their data directory, lies in ours.
remove_work()
{
	local status=$? file pid

	trap '' HUP INT TERM
	find "$work" -name postmaster.pid 2> /dev/null | while read -r file; do
		pid=$(head -n 1 "$file")
		case $(readlink "/proc/$pid/cwd" 2> /dev/null) in
			"$work"/*) kill -QUIT "$pid" 2> /dev/null ;;
		esac
	done
	if [ -n "${KEEP:-}" ]; then
		say "kept: $work"
	else
		rm -rf "$work" 2> /dev/null || { sleep 1; rm -rf "$work"; }
	fi
	exit "$status"
}

# The tree without what was built in it, which may be of another server.
copy_tree()
{
	mkdir "$work/tree"
	tar -C "$top" -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude='./migrate--*.sql' --exclude=./results --exclude=./output_iso \
		--exclude=./tmp_check --exclude=./tmp_check_iso --exclude=./log --exclude=./build . |
		tar -C "$work/tree" -xf - || die "could not copy the source tree"
}

# Whatever settings the caller has for servers, languages or make are not meant
# for what happens here; those that scale the tests are.
set_run()
{
	local name environment=(env -i "HOME=$work/home" "TERM=${TERM:-dumb}" LC_ALL=C.UTF-8
		"PATH=$(dirname "$PG_CONFIG"):/usr/local/bin:/usr/bin:/bin"
		"PG_CONFIG=$PG_CONFIG" "PGBOUNCER=$pgbouncer" "COLUMNS=${COLUMNS:-}" "LINES=${LINES:-}")

	for name in $(compgen -e MIGRATE_) SEED RACES LANES ALL_STEPS CASES; do
		[ -z "${!name:-}" ] || environment+=("$name=${!name}")
	done
	mkdir "$work/home"
	if [ "$(id -u)" = 0 ]; then
		chown -R nobody: "$work"
		run=(setpriv "--reuid=$(id -u nobody)" "--regid=$(id -g nobody)" --clear-groups)
	fi
	run+=("${environment[@]}")
}

with_assertions()
{
	! grep -q -- --enable-cassert <<< "$("$PG_CONFIG" --configure)" || echo ', with assertions'
}

provision()
{
	[ "$(uname -s)" = Linux ] || die "this needs Linux"
	[ -n "$work" ] || make_work
	install_missing "$@"
	[ -z "${wants_pgbouncer:-}" ] || unpack_pgbouncer
	private_server
	copy_tree
	set_run
	say "$("$PG_CONFIG" --version)$(with_assertions), as user $("${run[@]}" id -un)"
}

# Builds and installs; anything given goes to make.
build()
{
	(cd "$work/tree" && "${run[@]}" make -s -j "$(nproc)" PG_CONFIG="$PG_CONFIG" "$@") || return
	case $PG_CONFIG in
		"$work"/*) (cd "$work/tree" && "${run[@]}" make -s PG_CONFIG="$PG_CONFIG" install) ;;
		*) make -s -C "$work/tree" PG_CONFIG="$PG_CONFIG" install ;;
	esac
}
