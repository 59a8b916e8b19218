"""A DNS server of the test's own: a few records, over UDP and TCP, on loopback."""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[tuple[str, str], str]
"""Record data by (name, type); a name that is not in it does not exist."""


def answer(zone: Zone, query: dns.message.Message) -> dns.message.Message:
    """Return the response to a query."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    kind = dns.rdatatype.to_text(question.rdtype)
    if (name, kind) in zone:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, zone[name, kind]))
    elif not any(known == name for known, _ in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


PORT_TRIES = 50

Handler = type[socketserver.BaseRequestHandler]


def _on_one_port(over_udp: Handler, over_tcp: Handler) -> tuple[_Udp, _Tcp]:
    """Return servers on one free port: what is free for UDP may be taken for TCP, so that another one is tried."""
    for _ in range(PORT_TRIES):
        udp = _Udp(("127.0.0.1", 0), over_udp)
        try:
            return udp, _Tcp(("127.0.0.1", udp.server_address[1]), over_tcp)
        except OSError:
            udp.server_close()
    raise OSError(f"none of {PORT_TRIES} ports was free for both UDP and TCP")


@contextlib.contextmanager
def nameserver(zone: Zone) -> Iterator[str]:
    """Serve a zone; yields `host:port`."""

    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            octets, udp = self.request
            udp.sendto(answer(zone, dns.message.from_wire(octets)).to_wire(), self.client_address)

    class OverTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            response = answer(zone, dns.message.from_wire(self.rfile.read(length))).to_wire()
            self.wfile.write(struct.pack("!H", len(response)) + response)

    udp, tcp = _on_one_port(OverUdp, OverTcp)
    with udp, tcp:
        servers: tuple[socketserver.BaseServer, ...] = (udp, tcp)
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{udp.server_address[1]}"
        finally:
            for server in servers:
                server.shutdown()
