#!/bin/sh
# dpkg --purge alone: config.ini, which has a password in it, is of no package and goes with it. What the
# node remembers of the register (/var/lib/pha4pgsql) stays, as after install.sh --uninstall.
set -e
[ "${1-}" = purge ] || exit 0
rm -f /etc/pha4pgsql/config.ini
rmdir /etc/pha4pgsql 2>/dev/null || :
exit 0
