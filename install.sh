#!/bin/sh
# Installs pha4pgsql on every node that config.ini names, or on this one alone.
#
#   sh install.sh [--local] [--uninstall] [--config FILE] [--from DIR] [--force]
#
# Files are replaced by renaming a finished copy over them, so a running agent goes on with the one
# it was started from and PostgreSQL notices nothing. What is the same already is left alone.
#
# Nothing in config.ini is ever executed or put on a command line of another node: `cls` reads it,
# and every node gets the programs and the file as an archive, with this very script to install them.
set -u
umask 022

usage() {
    cat <<'END'
usage: sh install.sh [--local] [--uninstall] [--config FILE] [--from DIR] [--force]
  --local        this node only
  --uninstall    remove what was installed
  --config FILE  config.ini to use (default: the one beside this script, or above it)
  --from DIR     programs to install (default: bin or target/release beside this script; they are
                 built with cargo where they are missing or older than the sources)
  --force        with --uninstall: although the cluster's configuration still uses the agent
exit status: 0 done on every node, 1 not done on some, 100 wrong arguments
END
}

say() { printf '%s\n' "$*"; }
complain() { printf 'install.sh: %s\n' "$*" >&2; }
die() { complain "$*"; exit 1; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
local_only=no
uninstall=no
force=no
config=
from=
while [ $# -gt 0 ]; do
    case $1 in
        --local) local_only=yes ;;
        --uninstall) uninstall=yes ;;
        --force) force=yes ;;
        --config | --from)
            [ $# -gt 1 ] || { complain "$1 needs a value"; usage >&2; exit 100; }
            if [ "$1" = --config ]; then config=$2; else from=$2; fi
            shift ;;
        --help | -h) usage; exit 0 ;;
        *) complain "unknown argument: $1"; usage >&2; exit 100 ;;
    esac
    shift
done

programs='cls expgsql distlock'

# ---- what to install ----------------------------------------------------------------------------

has_programs() {
    for program in $programs; do
        [ -f "$1/$program" ] && [ -x "$1/$program" ] || return 1
    done
}

build() {
    command -v cargo >/dev/null 2>&1 ||
        die "there are no built programs and no cargo to build them; install Rust, or name a directory with $programs: --from DIR"
    say "building (cargo build --release)"
    (cd "$here" && cargo build --release --quiet --package cls --package expgsql --package distlock) ||
        die "the build failed; nothing was installed"
}

if [ -z "$from" ]; then
    if has_programs "$here/bin"; then
        from=$here/bin
    else
        from=${CARGO_TARGET_DIR:-$here/target}/release
        # With cargo at hand it decides what is out of date; without, what is there is taken.
        if [ -f "$here/Cargo.toml" ] && { ! has_programs "$from" || command -v cargo >/dev/null 2>&1; }; then
            build
        fi
    fi
fi
has_programs "$from" || die "$from lacks one of the programs $programs"

if [ -z "$config" ]; then
    for config in "$here/config.ini" "$here/../config.ini"; do
        [ -f "$config" ] && break
    done
fi
[ -f "$config" ] || die "there is no config.ini; copy config.ini.example to $here/config.ini and edit it"

setting() { "$from/cls" internal config "$1" --config "$config"; }

ocf_root=$(setting ocf_root) || exit 1
directory=$(setting directory) || exit 1
nodes=$(setting nodes) || exit 1
agent_dir=$ocf_root/resource.d/heartbeat
agent=$agent_dir/expgsql
# Where man and the shells look by themselves; the distribution's own files are elsewhere.
share=/usr/local/share

# ---- one node -----------------------------------------------------------------------------------

changed=0

# Puts a file under a name in one step, unless it is there already.
put() { # SOURCE TARGET MODE
    if [ -f "$2" ] && [ ! -L "$2" ] && cmp -s -- "$1" "$2" && [ "$(stat -c %a -- "$2")" = "$3" ]; then
        return 0
    fi
    fresh=$2.new.$$
    if (umask 077 && cp -- "$1" "$fresh") && chmod "$3" "$fresh" && sync -- "$fresh" && mv -f -- "$fresh" "$2"; then
        changed=$((changed + 1))
        return 0
    fi
    rm -f -- "$fresh"
    complain "$2 cannot be written"
    return 1
}

link() { # NAME
    [ "$(readlink -- "$directory/bin/$1" 2>/dev/null)" = cls ] && return 0
    fresh=$directory/bin/.$1.$$
    rm -f -- "$fresh"
    ln -s cls "$fresh" && mv -f -- "$fresh" "$directory/bin/$1" && changed=$((changed + 1))
}

# Manual pages and completions of the programs that are installed, below `share`. The database runs
# without them, so that one which cannot be written is said and no failure.
pages() { # put | drop
    made=$(mktemp -d) || return 1
    if "$from/cls" internal pages "$made"; then
        for page in $(cd "$made" && find . -type f); do
            if [ "$1" = put ]; then
                mkdir -p -- "$share/${page%/*}" && put "$made/$page" "$share/$page" 644
            elif [ -e "$share/$page" ]; then
                rm -f -- "$share/$page" && changed=$((changed + 1))
            fi
        done
    fi
    rm -rf -- "$made"
}

install_here() {
    [ -d "$agent_dir" ] ||
        { complain "$agent_dir is not there; install resource-agents and pacemaker, or correct OCF_ROOT in config.ini"; return 1; }
    mkdir -p -- "$directory/bin" || return 1
    put "$from/cls" "$directory/bin/cls" 755 || return 1
    put "$from/distlock" "$directory/bin/distlock" 755 || return 1
    for command in $("$from/cls" internal commands); do
        link "cls_$command" || return 1
    done
    put "$config" "$directory/config.ini" 600 || return 1
    put "$from/expgsql" "$agent" 755 || return 1
    pages put
    if [ "$changed" = 0 ]; then say "nothing to change"; else say "installed ($changed files changed)"; fi
    version_here
}

# What a node has, in one line that is the same on all of them.
version_here() {
    sum=$(cat -- "$directory/bin/cls" "$directory/bin/distlock" "$agent" "$directory/config.ini" | cksum) || return 1
    version=$("$directory/bin/cls" --version) || return 1
    OCF_ROOT=$ocf_root "$agent" meta-data >/dev/null ||
        { complain "$agent does not run on this node"; return 1; }
    say "version: $version, checksum $(printf '%s' "$sum" | tr ' ' '-')"
}

uninstall_here() {
    if [ "$force" = no ] && cibadmin --query --xpath "//primitive[@type='expgsql']" >/dev/null 2>&1; then
        complain "the cluster's configuration still has a resource of the agent expgsql; type cls_stop and cls_setup --remove first, or give --force"
        return 1
    fi
    for target in "$directory"/bin/cls_*; do
        [ "$(readlink -- "$target" 2>/dev/null)" = cls ] && rm -f -- "$target" && changed=$((changed + 1))
    done
    for target in "$directory/bin/cls" "$directory/bin/distlock" "$directory/config.ini" "$agent"; do
        [ -e "$target" ] || continue
        rm -f -- "$target" || { complain "$target cannot be removed"; return 1; }
        changed=$((changed + 1))
    done
    pages drop
    rmdir -- "$directory/bin" "$directory" 2>/dev/null
    if [ "$changed" = 0 ]; then say "nothing to remove"; else say "removed ($changed files)"; fi
}

if [ "$local_only" = yes ]; then
    [ "$(id -u)" = 0 ] || die "this must be run as root"
    if [ "$uninstall" = yes ]; then uninstall_here; else install_here; fi
    exit
fi

# ---- every node ---------------------------------------------------------------------------------

work=$(mktemp -d) || exit 1
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/payload" || exit 1
for program in $programs; do
    cp -- "$from/$program" "$work/payload/" || exit 1
done
cp -- "$0" "$work/payload/install.sh" || exit 1
(umask 077 && cp -- "$config" "$work/payload/config.ini") || exit 1
tar -C "$work/payload" -cf "$work/payload.tar" . || exit 1

options=--local
[ "$uninstall" = yes ] && options="$options --uninstall"
[ "$force" = yes ] && options="$options --force"
# The same words for every node: nothing of config.ini is in them.
remote="d=\$(mktemp -d) && tar -C \"\$d\" -xf - && sh \"\$d/install.sh\" $options --from \"\$d\" --config \"\$d/config.ini\"; r=\$?; rm -rf -- \"\$d\"; exit \$r"

on_node() { # NODE
    if [ "$1" = "$(uname -n)" ] || [ "$1" = "$(uname -n | cut -d. -f1)" ]; then
        # shellcheck disable=SC2086 # the options are words of this script
        sh "$work/payload/install.sh" $options --from "$work/payload" --config "$work/payload/config.ini"
    else
        ssh -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
            -- "root@$1" "$remote" <"$work/payload.tar"
    fi
}

for node in $nodes; do
    (
        on_node "$node" >"$work/out.$node" 2>"$work/err.$node"
        echo $? >"$work/status.$node"
    ) &
done
wait

failed=
versions=
for node in $nodes; do
    status=$(cat "$work/status.$node" 2>/dev/null)
    sed "s/^/$node: /" "$work/out.$node"
    sed "s/^/$node: /" "$work/err.$node" >&2
    if [ "$status" != 0 ]; then
        failed="$failed $node"
        [ "$status" = 255 ] &&
            complain "$node cannot be reached by ssh as root; start it and run this again"
    else
        versions="$versions$(grep '^version: ' "$work/out.$node")
"
    fi
done

if [ -n "$failed" ]; then
    die "not done on:$failed (the other nodes are done)"
fi
[ "$uninstall" = yes ] && exit 0
if [ "$(printf '%s' "$versions" | sort -u | wc -l)" != 1 ]; then
    die "the nodes have different versions; run this again"
fi
say "every node has the same version"
say "next: export PATH=$directory/bin:\$PATH, then cls_setup"
