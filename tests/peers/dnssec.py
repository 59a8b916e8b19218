"""A DNS with DNSSEC of the test's own: nsd has the zones, ldns signs them, unbound validates and is asked."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.e2e.installation import wait_until

ADDRESS = "127.0.0.53"
PROGRAMS = ("nsd", "unbound", "ldns-keygen", "ldns-signzone")
SIGNED, UNSIGNED = "secure.example", "insecure.example"
BOGUS = "0b0b" * 16
"""A digest in the signed zone that is not what was signed."""

NSD = """
server:
    ip-address: {address}@{port}
    username: root
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    xfrdfile: ""
    zonelistfile: "{folder}/nsd.list"
    database: ""
    logfile: "{folder}/nsd.log"
remote-control:
    control-enable: no
"""
UNBOUND = """
server:
    interface: {address}@{port}
    access-control: 127.0.0.0/8 allow
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: "{folder}/unbound.pid"
    logfile: "{folder}/unbound.log"
    use-syslog: no
    do-daemonize: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    trust-anchor-file: "{folder}/anchor"
    ede: yes
    do-ip6: no
remote-control:
    control-enable: no
"""


def is_possible() -> bool:
    """Tell whether this machine has the programs."""
    return all(_path(program) for program in PROGRAMS)


def _path(program: str) -> str:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin") or ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _zone(name: str, records: Sequence[str]) -> str:
    head = (f"$ORIGIN {name}.", "$TTL 60", f"@ SOA ns.{name}. root.{name}. 1 60 60 60 60", "@ NS ns", f"ns A {ADDRESS}")
    return "\n".join((*head, *records)) + "\n"


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [_path(command[0]), *command[1:]], cwd=folder, capture_output=True, check=False, timeout=60, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _sign(folder: Path) -> None:
    """Sign the zone, keep the key as trust anchor, and spoil the record that is to be bogus."""
    key = _run(folder, "ldns-keygen", "-r", "/dev/urandom", "-k", "-a", "ECDSAP256SHA256", SIGNED).strip()
    _run(folder, "ldns-signzone", "-f", "signed", SIGNED, key)
    (folder / "anchor").write_text((folder / f"{key}.key").read_text())
    text = (folder / "signed").read_text()
    spoiled = re.sub(BOGUS, BOGUS.replace("0b", "0c"), text, flags=re.IGNORECASE)
    assert spoiled != text
    (folder / "signed").write_text(spoiled)


@contextlib.contextmanager
def validating_resolver(folder: Path, signed: Sequence[str], unsigned: Sequence[str]) -> Iterator[int]:
    """Serve records (lines of a zone file) of the two zones; yields the port of the resolver at ADDRESS."""
    (folder / SIGNED).write_text(_zone(SIGNED, signed))
    (folder / UNSIGNED).write_text(_zone(UNSIGNED, unsigned))
    _sign(folder)
    nsd_port, unbound_port = _free_port(), _free_port()
    nsd = NSD.format(address=ADDRESS, port=nsd_port, folder=folder)
    unbound = UNBOUND.format(address=ADDRESS, port=unbound_port, folder=folder)
    for zone, file in ((SIGNED, "signed"), (UNSIGNED, UNSIGNED)):
        nsd += f'zone:\n    name: {zone}\n    zonefile: "{file}"\n'
        unbound += f"stub-zone:\n    name: {zone}\n    stub-addr: {ADDRESS}@{nsd_port}\n"
    (folder / "nsd.conf").write_text(nsd)
    (folder / "unbound.conf").write_text(unbound)
    with _running(folder, "nsd", "-d"), _running(folder, "unbound", "-d"):
        for zone in (SIGNED, UNSIGNED):
            wait_until(lambda zone=zone: _answers(zone, unbound_port), f"an answer for {zone}")  # type: ignore[misc]
        yield unbound_port


@contextlib.contextmanager
def _running(folder: Path, program: str, *arguments: str) -> Iterator[None]:
    command = [_path(program), *arguments, "-c", str(folder / f"{program}.conf")]
    with (folder / f"{program}.out").open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()


def _answers(zone: str, port: int) -> bool:
    query = dns.message.make_query(f"ns.{zone}", "A")
    try:
        response = dns.query.udp(query, ADDRESS, timeout=1, port=port)
    except (OSError, dns.exception.DNSException):
        return False
    return response.rcode() == dns.rcode.NOERROR
