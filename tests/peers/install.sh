#!/bin/sh
# Installs programs, unless they are there: those of the arguments, each PROGRAM:PACKAGE; without arguments what
# `make peers` needs, which is Postfix with logins (Cyrus SASL), and a DNS with DNSSEC (nsd signed by ldns, unbound).
# Without questions, and without starting anything: the tests run instances of their own, on loopback addresses, with
# configurations of their own.
set -eu

if [ $# = 0 ]; then
    set -- postfix:postfix nsd:nsd unbound:unbound ldns-signzone:ldnsutils ldns-keygen:ldnsutils saslpasswd2:sasl2-bin
fi
missing=
for program; do
    if ! command -v "${program%%:*}" >/dev/null 2>&1 && [ ! -x "/usr/sbin/${program%%:*}" ]; then
        missing="$missing ${program##*:}"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "this needs$missing: install it, or run this as root on Debian" >&2
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
# shellcheck disable=SC2086 # several words are several packages
apt-get -qq install --yes --no-install-recommends $missing >/dev/null
