#!/bin/sh
# After the files are in place (dpkg: configure with the version before; rpm: how many versions there are).
# No service is started, stopped or enabled.
set -e
case ${1-} in
    configure | [1-9]*)
        if command -v systemd-tmpfiles >/dev/null 2>&1; then
            systemd-tmpfiles --create /usr/lib/tmpfiles.d/pha4pgsql.conf || :
        fi
        ;;
esac
case ${1-}:${2-} in
    configure: | 1:*) ;;
    *) exit 0 ;;
esac
if [ -f /opt/pha4pgsql/bin/cls ] && [ ! -L /opt/pha4pgsql/bin/cls ]; then
    cat <<'END'
pha4pgsql: install.sh had put programs into /opt/pha4pgsql/bin; those of the package count from now on.
  Once every node has the package: sh /usr/share/pha4pgsql/install.sh, which lets the old places lead to it.
END
elif [ ! -f /etc/pha4pgsql/config.ini ]; then
    cat <<'END'
pha4pgsql: on one node, install -m 600 /etc/pha4pgsql/config.ini.example /etc/pha4pgsql/config.ini and
  change the values; then sh /usr/share/pha4pgsql/install.sh (copies it to every node), cls_setup, cls_start.
END
fi
exit 0
