#!/bin/sh
# Before the package is removed (dpkg: remove; rpm: no version is left). Without the agent Pacemaker could
# neither stop nor watch the database that it runs, so the package stays as long as it is configured. An
# upgrade replaces the files and touches no process: the agent's next operation is the new program, and it
# starts the guard again as that. Where dpkg says deconfigure it removes no file.
set -e
case ${1-} in
    remove | 0) ;;
    *) exit 0 ;;
esac
command -v cibadmin >/dev/null 2>&1 || exit 0

refuse() { # WHY
    printf 'pha4pgsql: %s; nothing was removed.\n' "$1" >&2
    cat >&2 <<'END'
  To take the database out of the cluster: cls_stop, then cls_setup --remove, then remove the package again.
  To take only this node away: if it is the primary (cls_master says so), cls_online_switch first; then
  here systemctl disable --now pacemaker corosync, then remove the package again.
END
    exit 1
}

asked=0
timeout 30 cibadmin --query --xpath "//primitive[@type='expgsql']" >/dev/null 2>&1 || asked=$?
case $asked in
    0) refuse "the cluster's configuration still has a resource of the agent expgsql" ;;
    # There is no such resource, and no cluster.
    105 | 102) exit 0 ;;
esac
# Any other end is no answer, and nothing that the agent is needed for where Pacemaker does not run.
if grep -qsx pacemakerd /proc/[0-9]*/comm; then
    refuse "Pacemaker runs here and does not say whether it still needs the agent expgsql (cibadmin ended with status $asked; 124: no answer in 30 s; cibadmin --query says why)"
fi
exit 0
