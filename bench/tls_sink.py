"""An SMTP server with STARTTLS that holds every transaction until so many are at DATA.

`python -m bench.tls_sink COUNT` prints its port and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def server_context() -> ssl.SSLContext:
    """Return TLS settings with a certificate made just now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory(prefix="egret-bench-") as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    return context


class Sink:
    """Answers everything with success; the content only once `count` of them have come."""

    def __init__(self, count: int) -> None:
        self._context = server_context()
        self._missing = count
        self._all_here = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink.example\r\n")
        while line := await reader.readline():
            match line[:4].upper().strip():
                case b"EHLO":
                    writer.write(b"250-sink.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n")
                case b"STAR":
                    writer.write(b"220 2.0.0 go\r\n")
                    await writer.start_tls(self._context)
                case b"DATA":
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    await self._wait_for_all()
                    writer.write(b"250 2.0.0 ok\r\n")
                case b"QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    return
                case _:
                    writer.write(b"250 2.0.0 ok\r\n")

    async def _wait_for_all(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._all_here.set()
        await self._all_here.wait()


async def main() -> None:
    """Serve until standard input ends."""
    sink = Sink(int(sys.argv[1]))
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
