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

    with _Udp(("127.0.0.1", 0), OverUdp) as udp, _Tcp(("127.0.0.1", udp.server_address[1]), OverTcp) as tcp:
        servers: tuple[socketserver.BaseServer, ...] = (udp, tcp)
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{udp.server_address[1]}"
        finally:
            for server in servers:
                server.shutdown()
