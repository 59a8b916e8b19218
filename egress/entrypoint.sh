#!/bin/sh
# egret-egress          runs the unit
# egret-egress health   asks it whether it is well
#
# The container shares the network of its host. The private address is the one that leads to the world: a UDP socket
# that is connected, and sends nothing, knows it. The handoff is bound to it, and announced at it.
set -eu
address=$(python -c '
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("192.0.2.1", 9))
    print(probe.getsockname()[0])
')
export EGRET_EGRESS_BIND="${EGRET_EGRESS_BIND:-$address:1081}"
export EGRET_EGRESS_URL="${EGRET_EGRESS_URL:-http://$address:1081}"
# A certificate of the operator's own comes as a secret, and is read from a file.
if [ -z "${1:-}" ] && [ -n "${EGRET_TLS_PEM:-}" ]; then
    (umask 077 && printf '%s\n' "$EGRET_TLS_PEM" > /tmp/tls.pem)
    export EGRET_TLS_CERT=/tmp/tls.pem
    export EGRET_TLS_KEY=/tmp/tls.pem
fi
unset EGRET_TLS_PEM
# The resolver of this image, unless another one is configured. It is restarted when it ends, and ends with the container.
if [ -z "${1:-}" ] && [ "${EGRET_RESOLVER:-}" = 127.0.0.1:5335 ]; then
    mkdir -p /tmp/unbound
    cp /usr/share/dns/root.key /tmp/unbound/root.key
    while :; do
        unbound -d -c /etc/unbound/egret.conf || true
        sleep 1
    done &
fi
exec python -m "egret_egress${1:+.$1}"
