#!/bin/sh
# Installs Postfix for `make peers`, unless it is there: without questions, and without starting it.
# The tests run instances of their own, on loopback addresses, with configurations of their own.
set -eu

if command -v postfix >/dev/null 2>&1 || [ -x /usr/sbin/postfix ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "make peers needs Postfix: install it, or run this as root on Debian" >&2
    exit 1
fi

# Debian starts a service as soon as it is installed, unless policy-rc.d says no (101).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
apt-get -qq update
apt-get -qq install --yes --no-install-recommends postfix >/dev/null
