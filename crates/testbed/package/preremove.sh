#!/bin/sh
# Before the package is removed (dpkg: remove; rpm: no version is left). Without the agent Pacemaker could
# neither stop nor watch the database that it runs, so the package stays as long as it is configured. An
# upgrade replaces the files and touches no process: the agent's next operation is the new program, and it
# starts the guard again as that.
set -e
case ${1-} in
    remove | deconfigure | 0) ;;
    *) exit 0 ;;
esac
command -v cibadmin >/dev/null 2>&1 || exit 0
# Where Pacemaker does not run there is no answer, and nothing here that the agent is needed for.
if timeout 30 cibadmin --query --xpath "//primitive[@type='expgsql']" >/dev/null 2>&1; then
    cat >&2 <<'END'
pha4pgsql: the cluster's configuration still has a resource of the agent expgsql; nothing was removed.
  To take the database out of the cluster: cls_stop, then cls_setup --remove, then remove the package again.
  To take only this node away: systemctl stop pacemaker corosync here, then remove the package again.
END
    exit 1
fi
exit 0
