#!/bin/sh
# Installs programs, unless they are there: those of the arguments, each PROGRAM:PACKAGE; without arguments what
# `make peers` needs, which is Postfix with logins (Cyrus SASL), a DNS with DNSSEC (nsd signed by ldns, unbound), swaks,
# and, unpacked into .peers because Debian lets only one mail server be installed, Exim and OpenSMTPD.
# Without questions, and without starting anything: the tests run instances of their own, on loopback addresses, with
# configurations of their own.
set -eu

packages() {
    missing=
    for program; do
        if ! command -v "${program%%:*}" >/dev/null 2>&1 && [ ! -x "/usr/sbin/${program%%:*}" ]; then
            missing="$missing ${program##*:}"
        fi
    done
    [ -z "$missing" ] || install "$missing"
}

may_install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "this needs$1: install it, or run this as root on Debian" >&2
        exit 1
    fi
}

install() {
    may_install "$1"
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
    apt-get -qq install --yes --no-install-recommends $1 >/dev/null
}

# Puts a package's files below .peers and installs the libraries that it names; its users are made as it would.
unpack() {
    [ ! -e ".peers/$1.unpacked" ] || return 0
    may_install " $1"
    mkdir -p .peers/root .peers/packages
    apt-get -qq update
    (cd .peers/packages && apt-get -qq download "$1") 2>/dev/null
    libraries=$(dpkg-deb -f .peers/packages/"$1"_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ |]*\).*/\1/p' | tr '\n' ' ')
    install " $libraries"
    dpkg-deb -x .peers/packages/"$1"_*.deb .peers/root
    touch ".peers/$1.unpacked"
}

user() {
    getent passwd "$1" >/dev/null || \
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1"
}

if [ $# != 0 ]; then
    packages "$@"
    exit 0
fi
packages postfix:postfix nsd:nsd unbound:unbound ldns-signzone:ldnsutils ldns-keygen:ldnsutils saslpasswd2:sasl2-bin \
    swaks:swaks
unpack exim4-daemon-light
unpack opensmtpd
user Debian-exim
user opensmtpd
user opensmtpq
