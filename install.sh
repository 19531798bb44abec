#!/bin/sh
# Installs pha4pgsql on every node that config.ini names, or on this one alone.
#
#   sh install.sh [--local] [--uninstall] [--restrict-ssh] [--config FILE] [--from DIR] [--force]
#
# Files are replaced by renaming a finished copy over them, so a running agent goes on with the one
# it was started from and PostgreSQL notices nothing. What is the same already is left alone.
#
# Where a package has put the programs, they are the package's: config.ini alone is put there.
#
# Nothing in config.ini is ever executed or put on a command line of another node: `cls` reads it,
# and every node gets the programs and the file as an archive, with this very script to install them.
set -u
umask 022

usage() {
    cat <<'END'
usage: sh install.sh [--local] [--uninstall] [--restrict-ssh] [--config FILE] [--from DIR] [--force]
  --local        this node only
  --restrict-ssh also make a key on every node that may do nothing on the others but ask for their
                 promise (expgsql promise); root's other keys stay as they are
  --uninstall    remove what was installed
  --config FILE  config.ini to use (default: the one beside this script, or above it; where a package
                 is installed, the one that the commands read)
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
restrict=no
bind=
taken=
config=
from=
while [ $# -gt 0 ]; do
    case $1 in
        --local) local_only=yes ;;
        --uninstall) uninstall=yes ;;
        --restrict-ssh) restrict=yes ;;
        --force) force=yes ;;
        --config | --from | --bind | --taken)
            [ $# -gt 1 ] || { complain "$1 needs a value"; usage >&2; exit 100; }
            case $1 in --config) config=$2 ;; --from) from=$2 ;; --bind) bind=$2 ;; --taken) taken=$2 ;; esac
            shift ;;
        --help | -h) usage; exit 0 ;;
        *) complain "unknown argument: $1"; usage >&2; exit 100 ;;
    esac
    shift
done

programs='cls expgsql distlock'

# A package's script lies beside its programs. Of a node that has both it and programs in the directory of
# config.ini, the package's are the ones that count.
packaged() { [ -x /usr/sbin/cls ] && [ -f /usr/share/pha4pgsql/install.sh ]; }

# ---- what to install ----------------------------------------------------------------------------

has_programs() {
    for program in $programs; do
        [ -f "$1/$program" ] || return 1
    done
}

# Says why a program that is there cannot be run.
may_run() { # DIR
    for program in $programs; do
        [ -x "$1/$program" ] ||
            die "$1/$program may not be run here: chmod 0755 it, or unpack it on a file system that is not mounted noexec (findmnt -T $1)"
    done
}

# Sets d to a fresh directory in which programs may be run: /tmp is mounted noexec on many systems. The
# same words serve on the other nodes.
# shellcheck disable=SC2016 # they are for whoever runs them
place='for b in "${TMPDIR:-/tmp}" /var/tmp /root /opt; do
    d=$(mktemp -d -- "$b/pha4pgsql.XXXXXX" 2>/dev/null) || { d=; continue; }
    printf "#!/bin/sh\nexit 0\n" >"$d/try" && chmod 0700 "$d/try" && "$d/try" 2>/dev/null && rm -f -- "$d/try" && break
    rm -rf -- "$d"; d=
done
[ -n "$d" ] || echo "no directory for temporary files in which programs may be run: name one in TMPDIR" >&2'

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
    elif ! packaged || [ -f "$here/Cargo.toml" ]; then
        from=${CARGO_TARGET_DIR:-$here/target}/release
        # With cargo at hand it decides what is out of date; without, what is there is taken.
        if [ -f "$here/Cargo.toml" ] && { ! has_programs "$from" || command -v cargo >/dev/null 2>&1; }; then
            build
        fi
    fi
fi
if packaged && ! has_programs "$from"; then
    # Nothing is installed from here but the configuration.
    from=
    cls=/usr/sbin/cls
else
    has_programs "$from" ||
        die "$from lacks one of the programs $programs; where another node has the package pha4pgsql, install it here too"
    may_run "$from"
    cls=$from/cls
fi

# Where config.ini was found, as long as nobody has chosen it. A file has that name for the other nodes.
found=
if [ -n "$taken" ]; then found=$(cat -- "$taken") || exit 1; fi
if [ -z "$config" ]; then
    for config in "$here/config.ini" "$here/../config.ini"; do
        [ -f "$config" ] && break
    done
    if [ ! -f "$config" ] && packaged; then
        here=/etc/pha4pgsql
        for config in "$here/config.ini" /opt/pha4pgsql/config.ini; do
            [ -f "$config" ] && break
        done
    fi
    found="$config of $(uname -n)"
fi
[ -f "$config" ] ||
    die "there is no config.ini; type install -m 600 $here/config.ini.example $here/config.ini, and change the values in it"

setting() { "$cls" internal config "$1" --config "$config"; }

ocf_root=$(setting ocf_root) || exit 1
directory=$(setting directory) || exit 1
nodes=$(setting nodes) || exit 1
agent_dir=$ocf_root/resource.d/heartbeat
agent=$agent_dir/expgsql
# Where man and the shells look by themselves; the distribution's own files are elsewhere.
share=/usr/local/share
bin=$directory/bin
etc=$directory
if packaged; then
    bin=/usr/sbin
    etc=/etc/pha4pgsql
fi

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

# Two names of one file, whatever links are on the way.
same() {
    # shellcheck disable=SC3013 # every sh of a distribution has it, and POSIX since 2024
    [ "$1" -ef "$2" ]
}

link() { # FILE TARGET
    [ "$(readlink -- "$1" 2>/dev/null)" = "$2" ] && return 0
    fresh=${1%/*}/.${1##*/}.$$
    rm -f -- "$fresh"
    ln -s "$2" "$fresh" && mv -f -- "$fresh" "$1" && changed=$((changed + 1))
}

# Manual pages and completions of the programs that are installed, below `share`. The database runs
# without them, so that one which cannot be written is said and no failure.
pages() { # put | drop
    made=$(mktemp -d) || return 1
    if "$cls" internal pages "$made"; then
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

# Puts config.ini beside a package. What this script had installed before leads to the package from now on,
# so that nobody goes on with older programs by a PATH or a cron job.
configure_here() {
    say "the package pha4pgsql is installed here: config.ini alone is put there"
    own=$directory/config.ini
    if [ -n "$found" ] && [ -f "$own" ] && ! same "$own" "$etc/config.ini" && ! cmp -s -- "$config" "$own"; then
        complain "$own of $(uname -n) has other contents than $found, and would be lost; choose the one that is right on every node: --config FILE"
        return 1
    fi
    mkdir -p -- "$etc" && put "$config" "$etc/config.ini" 600 || return 1
    # The directory of config.ini may be the package's own, by whatever name.
    for old in cls distlock; do
        [ -e "$directory/bin/$old" ] || continue
        same "$directory/bin/$old" "$bin/$old" || link "$directory/bin/$old" "$bin/$old" || return 1
    done
    if [ -e "$own" ]; then same "$own" "$etc/config.ini" || link "$own" "$etc/config.ini" || return 1; fi
    pages drop
    return 0
}

programs_here() {
    [ -d "$agent_dir" ] ||
        { complain "$agent_dir is not there; install resource-agents and pacemaker, or correct OCF_ROOT in config.ini"; return 1; }
    mkdir -p -- "$directory/bin" || return 1
    put "$from/cls" "$directory/bin/cls" 755 || return 1
    put "$from/distlock" "$directory/bin/distlock" 755 || return 1
    for command in $("$cls" internal commands); do
        link "$directory/bin/cls_$command" cls || return 1
    done
    put "$config" "$directory/config.ini" 600 || return 1
    put "$from/expgsql" "$agent" 755 || return 1
    pages put
    return 0
}

install_here() {
    if packaged; then configure_here || return 1; else programs_here || return 1; fi
    if [ "$restrict" = yes ]; then promise_key || return 1; fi
    if [ "$changed" = 0 ]; then say "nothing to change"; else say "installed ($changed files changed)"; fi
    version_here
}

# ---- the key that asks for promises -------------------------------------------------------------

promise_key=/root/.ssh/pha4pgsql_promise
authorized=/root/.ssh/authorized_keys

# Makes the key where there is none, and shows its public half to the node that installs.
promise_key() {
    [ -d /root/.ssh ] || mkdir -m 700 /root/.ssh || return 1
    if [ ! -f "$promise_key" ]; then
        rm -f -- "$promise_key.pub"
        ssh-keygen -q -t ed25519 -N '' -C "pha4pgsql-promise-$(uname -n)" -f "$promise_key" </dev/null ||
            { complain "$promise_key cannot be made; install openssh-client"; return 1; }
        changed=$((changed + 1))
    fi
    say "promise-key: $(ssh-keygen -y -f "$promise_key" | cut -d' ' -f1,2)" "pha4pgsql-promise-$(uname -n)"
}

# Lets the keys of a file ask for promises on this node, and do nothing else; those that were let in
# before and are not in it are taken out. The file's lines come from other nodes: what is not a key and
# nothing more is left out.
bind_keys() { # FILE
    fresh=$authorized.new.$$
    (
        umask 077
        [ -f "$authorized" ] && grep -v ' pha4pgsql-promise-[^ ]*$' -- "$authorized"
        grep -E '^ssh-ed25519 [A-Za-z0-9+/]+=* pha4pgsql-promise-[A-Za-z0-9._-]+$' -- "$1" | sort -u |
            while IFS= read -r key; do printf 'restrict,command="%s promise" %s\n' "$agent" "$key"; done
    ) >"$fresh" 2>/dev/null
    if [ -f "$authorized" ] && cmp -s -- "$fresh" "$authorized"; then
        rm -f -- "$fresh"
        return 0
    fi
    chmod 600 "$fresh" && sync -- "$fresh" && mv -f -- "$fresh" "$authorized" && return 0
    rm -f -- "$fresh"
    complain "$authorized cannot be written"
    return 1
}

# What a node has, in one line that is the same on all of them.
version_here() {
    sum=$(cat -- "$bin/cls" "$bin/distlock" "$agent" "$etc/config.ini" | cksum) || return 1
    version=$("$bin/cls" --version) || return 1
    OCF_ROOT=$ocf_root "$agent" meta-data >/dev/null ||
        { complain "$agent does not run on this node"; return 1; }
    say "version: $version, checksum $(printf '%s' "$sum" | tr ' ' '-')"
}

# Says why the agent is needed here. The package's script before its removal decides the same way.
needed() {
    command -v cibadmin >/dev/null 2>&1 || return 1
    timeout 30 cibadmin --query --xpath "//primitive[@type='expgsql']" >/dev/null 2>&1
    asked=$?
    case $asked in
        0)
            complain "the cluster's configuration still has a resource of the agent expgsql; type cls_stop and cls_setup --remove first, or give --force" ;;
        # There is no such resource, and no cluster.
        105 | 102) return 1 ;;
        *)
            grep -qsx pacemakerd /proc/[0-9]*/comm || return 1
            complain "Pacemaker runs here and does not say whether it still needs the agent expgsql (cibadmin ended with status $asked; 124: no answer in 30 s); cibadmin --query says why; run this again when it answers, or give --force" ;;
    esac
}

uninstall_here() {
    if [ "$force" = no ] && needed; then return 1; fi
    if packaged && same "$directory/bin" "$bin"; then
        # These are the package's programs.
        set -- "$directory/config.ini"
    else
        for target in "$directory"/bin/cls_*; do
            [ "$(readlink -- "$target" 2>/dev/null)" = cls ] && rm -f -- "$target" && changed=$((changed + 1))
        done
        set -- "$directory/bin/cls" "$directory/bin/distlock" "$directory/config.ini"
    fi
    if packaged; then
        say "the package pha4pgsql stays; apt-get remove pha4pgsql or dnf remove pha4pgsql takes it away"
        set -- "$@" "$etc/config.ini"
    else
        set -- "$@" "$agent"
    fi
    for target in "$@"; do
        [ -e "$target" ] || [ -L "$target" ] || continue
        rm -f -- "$target" || { complain "$target cannot be removed"; return 1; }
        changed=$((changed + 1))
    done
    pages drop
    if [ -f "$promise_key" ]; then
        rm -f -- "$promise_key" "$promise_key.pub" && changed=$((changed + 1))
    fi
    if [ -f "$authorized" ]; then bind_keys /dev/null; fi
    rmdir -- "$directory/bin" "$directory" 2>/dev/null
    if [ "$changed" = 0 ]; then say "nothing to remove"; else say "removed ($changed files)"; fi
}

if [ "$local_only" = yes ]; then
    [ "$(id -u)" = 0 ] || die "this must be run as root"
    if [ -n "$bind" ]; then
        bind_keys "$bind"
    elif [ "$uninstall" = yes ]; then
        uninstall_here
    else
        install_here
    fi
    exit
fi

# ---- every node ---------------------------------------------------------------------------------

d=
eval "$place"
[ -n "$d" ] || exit 1
work=$d
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/payload" || exit 1
if [ -n "$from" ]; then
    for program in $programs; do
        cp -- "$from/$program" "$work/payload/" || exit 1
    done
else
    say "the package pha4pgsql is installed here: config.ini alone goes to every node"
fi
cp -- "$0" "$work/payload/install.sh" || exit 1
(umask 077 && cp -- "$config" "$work/payload/config.ini") || exit 1

options=--local
[ "$uninstall" = yes ] && options="$options --uninstall"
[ "$force" = yes ] && options="$options --force"
[ "$restrict" = yes ] && options="$options --restrict-ssh"
if [ -n "$found" ]; then
    printf '%s\n' "$found" >"$work/payload/taken" || exit 1
    options="$options --taken taken"
fi
tar -C "$work/payload" -cf "$work/payload.tar" . || exit 1

small() { printf '%s' "$1" | tr '[:upper:]' '[:lower:]'; }

# Account, port and key are those of ssh's configuration for that node.
on_node() { # NODE OPTIONS
    name=$(small "$1")
    host=$(small "$(uname -n)")
    if [ "$name" = "$host" ] || [ "$name" = "${host%%.*}" ] || [ "${name%%.*}" = "$host" ]; then
        # shellcheck disable=SC2086 # the options are words of this script
        (cd "$work/payload" && sh ./install.sh $2 --from "$work/payload" --config "$work/payload/config.ini")
    else
        # The same words for every node: nothing of config.ini is in them. Where a login shell prints half a
        # line first, that ends here.
        ssh -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
            -o ControlPath=none -- "$1" \
            "echo; $place
            [ -n \"\$d\" ] || exit 1
            cd \"\$d\" && tar -xf - && sh ./install.sh $2 --from \"\$d\" --config \"\$d/config.ini\"; r=\$?; cd /; rm -rf -- \"\$d\"; exit \$r" \
            <"$work/payload.tar"
    fi
}

on_nodes() { # OPTIONS
    for node in $nodes; do
        (
            on_node "$node" "$1" >"$work/out.$node" 2>"$work/err.$node"
            echo $? >"$work/status.$node"
        ) &
    done
    wait
}

on_nodes "$options"

failed=
versions=
packages=
for node in $nodes; do
    status=$(cat "$work/status.$node" 2>/dev/null)
    grep -v -e '^promise-key: ' -e '^$' "$work/out.$node" | sed "s/^/$node: /"
    sed "s/^/$node: /" "$work/err.$node" >&2
    if [ "$status" != 0 ]; then
        failed="$failed $node"
        [ "$status" = 255 ] &&
            complain "$node was not reached by ssh (see the line above); try 'ssh $node true' as root, then run this again"
    else
        versions="$versions$(grep '^version: ' "$work/out.$node")
"
        if grep -q '^the package pha4pgsql ' "$work/out.$node"; then packages="$packages $node"; fi
    fi
done

if [ -n "$failed" ]; then
    die "not done on:$failed (the other nodes are done)"
fi
[ "$uninstall" = yes ] && exit 0
if [ "$(printf '%s' "$versions" | sort -u | wc -l)" != 1 ]; then
    [ -z "$packages" ] ||
        die "the nodes have different versions, and this does not replace the programs of the package pha4pgsql, which is on:$packages; install that package, of the same version, on every node"
    die "the nodes have different versions; run this again"
fi
if [ "$restrict" = yes ]; then
    for node in $nodes; do
        sed -n 's/^promise-key: //p' "$work/out.$node"
    done >"$work/payload/keys"
    [ "$(wc -l <"$work/payload/keys")" = "$(printf '%s\n' "$nodes" | wc -w)" ] ||
        die "a node has not shown its key; run this again"
    tar -C "$work/payload" -cf "$work/payload.tar" . || exit 1
    on_nodes "--local --bind keys"
    for node in $nodes; do
        sed "s/^/$node: /" "$work/err.$node" >&2
        [ "$(cat "$work/status.$node" 2>/dev/null)" = 0 ] || failed="$failed $node"
    done
    [ -z "$failed" ] || die "the keys are not bound on:$failed; run this again"
    say "every node may ask every other for its promise with a key of its own, and do nothing else with it"
fi
say "every node has the same version"
if packaged; then path=""; else path="export PATH=$directory/bin:\$PATH, then "; fi
say "next: ${path}cls_setup; for a new cluster cls_init before it"
