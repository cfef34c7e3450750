# shellcheck shell=bash
#
# server_source.sh: servers built from Debian's source packages, for what a packaged
# server cannot tell. Sourced by bash, after provision.sh.
#
# provision_built MAJOR KIND PACKAGE... is "provision PACKAGE..." with such a server.
# KIND is "assert" or "valgrind" (which is "assert" with USE_VALGRIND). It sets besides
#
#	source_tree	the server's source tree; nothing is built in it
#	build_tree	the tree that the server was built in
#
# Sources and servers are kept in $MIGRATE_CACHE (default: $XDG_CACHE_HOME/migrate or
# ~/.cache/migrate; for root, whose home others cannot enter, /var/cache/migrate), a folder
# for each version; remove it to have them anew. Nothing else is written. Apt is given lists
# of its own there, so that the system's need name no sources, and the version may be one
# that the system's release does not have. A version takes 0.5 GB, the second kind of server
# of it 0.3 GB more, and each of them about six minutes of processor time.
#
# Environment, for those who have these: PG_CONFIG, the server to use, with SOURCE and
# BUILD, its trees (BUILD: default SOURCE); SOURCE alone, an unpacked source tree to
# build from, as for 16, which is in no release of Debian; DEBIAN_MIRROR.

cache=${MIGRATE_CACHE:-}
[ -n "$cache" ] || case $(id -u) in
	0) cache=/var/cache/migrate ;;
	*) cache=${XDG_CACHE_HOME:-$HOME/.cache}/migrate ;;
esac
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
source_tree=''
build_tree=''

debian_release()	# MAJOR
{
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
		*) die "no release of Debian has PostgreSQL $1: set SOURCE to its unpacked source" ;;
	esac
}

# Other distributions of the family have Debian's keys in a package.
debian_keys()
{
	local keys=usr/share/keyrings/debian-archive-keyring.gpg

	if [ -e /$keys ]; then
		echo /$keys
		return
	fi
	{
		download debian-archive-keyring || { may_be_root && apt update && download debian-archive-keyring; }
	} > "$work/apt.log" 2>&1 || die "Debian's keys are missing: debian-archive-keyring"
	dpkg -x "$work"/debian-archive-keyring_*.deb "$cache/keys"
	echo "$cache/keys/$keys"
}


# apt with lists of its own.
source_apt()	# PROGRAM FOLDER ARGUMENT...
{
	local program=$1 folder=$2

	shift 2
	"$program" -q -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=- \
		-o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

# A mirror may lack the newest one, or have a list that is older than it.
fetch_source()	# MAJOR FOLDER
{
	local apt=$2/apt release keys version

	release=$(debian_release "$1") || exit
	keys=$(debian_keys) || exit
	rm -rf "$apt" "$2/unpacked"
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$2/unpacked"
	printf "deb-src [signed-by=$keys] %s\n" "$mirror $release main" \
		"${mirror%/debian}/debian-security $release-security main" > "$apt/sources.list"
	source_apt apt-get "$apt" update > "$work/apt.log" 2>&1 || tail -n 5 "$work/apt.log" >&2
	for version in $(source_apt apt-cache "$apt" showsrc "postgresql-$1" 2> /dev/null |
		sed -n 's/^Version: //p' | sort -rVu)
	do
		(cd "$2/unpacked" && source_apt apt-get "$apt" source "postgresql-$1=$version") \
			>> "$work/apt.log" 2>&1 && break
	done
	rm -rf "$2/source"
	mv "$2"/unpacked/postgresql-*/ "$2/source" 2> /dev/null || {
		tail -n 20 "$work/apt.log" >&2
		die "could not fetch the source of PostgreSQL $1"
	}
	rm -rf "$apt" "$2/unpacked"
}

build_server()	# PREFIX FLAGS
{
	local log=$1.log jobs

	jobs=$(nproc)
	rm -rf "$build_tree" "$1"
	mkdir -p "$build_tree"
	(
		cd "$build_tree" || exit
		"$source_tree/configure" -q --prefix="$1" --enable-cassert --enable-debug --enable-tap-tests \
			--without-icu --without-readline --without-zlib \
			CFLAGS='-O1 -g -fno-omit-frame-pointer' CPPFLAGS="$2" &&
			make -s -j "$jobs" all && make -s -C contrib -j "$jobs" all &&
			make -s -C src/test/regress all &&
			make -s install && make -s -C contrib install
	) > "$log" 2>&1 < /dev/null || {
		tail -n 30 "$log" >&2
		rm -rf "$1"
		die "the server could not be built, see $log"
	}
}

# Sets source, build and PG_CONFIG.
built_server()		# MAJOR KIND PACKAGE...
{
	local major=$1 kind=$2 folder=$cache/$1 flags='' lock

	shift 2
	if [ -n "${PG_CONFIG:-}" ]; then
		[ "$(major_of "$PG_CONFIG")" = "$major" ] || die "$PG_CONFIG is not of PostgreSQL $major"
		source_tree=${SOURCE:-}
		build_tree=${BUILD:-$source_tree}
		return
	fi
	source_tree=${SOURCE:-$folder/source}
	build_tree=$folder/build-$kind
	PG_CONFIG=$folder/$kind/bin/pg_config
	mkdir -p "$folder"
	exec {lock}> "$folder/lock"		# who comes second finds it built
	flock "$lock"
	if [ -x "$PG_CONFIG" ]; then
		exec {lock}>&-
		return
	fi

	builds_server=1 install_missing bison flex dpkg-dev libipc-run-perl "$@"
	if [ ! -e "$source_tree/configure" ]; then
		say "fetching the source of PostgreSQL $major"
		fetch_source "$major" "$folder"
	fi
	say "building PostgreSQL $major in $folder/$kind, which takes some minutes"
	[ "$kind" != valgrind ] || flags=-DUSE_VALGRIND
	build_server "$folder/$kind" "$flags"
	exec {lock}>&-
}

provision_built()	# MAJOR KIND PACKAGE...
{
	make_work
	built_server "$@"
	shift 2
	provision "$@"
}
