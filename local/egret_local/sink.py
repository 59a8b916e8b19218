"""The remote side of local mode: an SMTP server that answers as addresses ask and gives the rest to its sender.

Mail it takes is stored as incoming mail of the account that sent it, and so comes into that account's Inbox by the
same way as mail from outside: S3, its queue, dsn_ingest. A notification, which no account sent, goes to the one that it
is addressed to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import smtplib
import sys
from email.parser import BytesHeaderParser
from email.utils import parseaddr

from aiosmtpd.smtp import SMTP, Envelope, Session

from egret import posix
from egret.aws.app import App
from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.core import fromid
from egret_local.coming_back import Return, Taken, coming_back
from egret_local.script import Answer, Trick, afterwards, at_data, at_mail, at_rcpt
from egret_local.settings import HOST

log = logging.getLogger(__name__)

SILENCE_S = 3600.0
COMES_BACK_AFTER_S = 1.0
"""Long enough for the attempt to be recorded before: a bounce of what is not delivered yet would be odd to look at."""
SEND_TIMEOUT_S = 30.0
MAX_BYTES = 32 * 1024 * 1024


class Sink:
    """aiosmtpd's handler: each method answers one command."""

    def __init__(self, app: App, smtp_port: int) -> None:
        self._app = app
        self._smtp_port = smtp_port
        self._greylisted: set[str] = set()

    async def handle_MAIL(  # noqa: N802 (aiosmtpd's name and arguments)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL."""
        reply = await self._play(server, at_mail(address), address)
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 2.1.0 sender ok"

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name and arguments)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT."""
        reply = await self._play(server, at_rcpt(address), address)
        if reply is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply or "250 2.1.5 recipient ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Answer the end of the message: as the first address asks that asks for something, or take it."""
        for address in envelope.rcpt_tos:
            reply = await self._play(server, at_data(address), address)
            if reply is not None:
                return reply
        stored = await asyncio.to_thread(self._store, envelope, str(session.peer[0]) if session.peer else "")
        if stored and envelope.mail_from:  # nothing comes back for a bounce
            asyncio.get_running_loop().call_later(COMES_BACK_AFTER_S, self._answer, stored, envelope)
        return f"250 2.0.0 taken as {stored}" if stored else "554 5.7.0 neither sent by an account nor for one"

    async def _play(self, server: SMTP, action: Answer | Trick | None, address: str) -> str | None:
        match action:
            case None:
                return None
            case Answer():
                return str(action)
            case Trick.SILENCE:
                await asyncio.sleep(SILENCE_S)
                return "451 4.4.2 scripted time-out"
            case Trick.DISCONNECT:
                if isinstance(server.transport, asyncio.Transport):
                    server.transport.abort()
                return "421 4.3.2 closed"
            case Trick.GREYLIST:
                known = address in self._greylisted
                self._greylisted ^= {address}
                return None if known else "451 4.7.1 greylisted, try again later"

    def _answer(self, stored: str, envelope: Envelope) -> None:
        """Send back what the addresses ask for, over the installation's own port 25."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        for number, address in enumerate(envelope.rcpt_tos):
            what = afterwards(address)
            if what is not None:
                taken = Taken(f"{stored}.{number}", envelope.mail_from or "", address, content, self._app.clock.now())
                asyncio.get_running_loop().run_in_executor(None, self._send, coming_back(what, taken))

    def _send(self, mail: Return) -> None:
        try:
            with smtplib.SMTP(HOST, self._smtp_port, timeout=SEND_TIMEOUT_S) as client:
                client.sendmail(mail.mail_from, [mail.rcpt_to], mail.raw)
        except (OSError, smtplib.SMTPException) as error:
            log.warning("what was to come back to <%s> did not: %s", mail.rcpt_to, error)

    def _store(self, envelope: Envelope, peer: str) -> str:
        """Store the mail for the account that sent it, or that it is for; return its id, "" when there is neither."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        account = self._sender(envelope.mail_from or "", content) or self._account(envelope.rcpt_tos[0])
        if not account:
            return ""
        now, mail_id = self._app.clock.now(), self._app.dice.octets(12).hex()
        recipients = [InboundRecipient(address, account) for address in envelope.rcpt_tos]
        mail = Inbound(mail_id, now.isoformat(), envelope.mail_from or "", recipients, remote_ip=peer)
        self._app.blobs.put(f"inbound/{now:%Y-%m-%d}/{mail_id}", pack_inbound(mail, content))
        return mail_id

    def _sender(self, reverse_path: str, content: bytes) -> str:
        """Return the account id: by the fromid of the reverse-path, else by the From address, else ""."""
        local_part = reverse_path.rpartition("@")[0]
        known = fromid.verify(self._app.fromid_keys, local_part[-fromid.LENGTH :])
        if known is not None:
            return known.account
        return self._account(parseaddr(BytesHeaderParser().parsebytes(content)["From"] or "")[1])

    def _account(self, address: str) -> str:
        """Return the id of the account that logs in with an address, "" when there is none."""
        account = self._app.settings.account_of_address(address.lower())
        return account.id if account else ""


class _Server(SMTP):
    """Answers as a server on the internet does: no AUTH, SMTPUTF8 known."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink, hostname="sink.localhost", enable_SMTPUTF8=True, data_size_limit=MAX_BYTES)


async def serve(app: App, port: int, smtp_port: int) -> None:
    """Listen until asked to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    posix.on_terminate(loop, ended.set)
    sink = Sink(app, smtp_port)
    server = await loop.create_server(lambda: _Server(sink), HOST, port)
    await ended.wait()
    server.close()


def main() -> None:
    """Run on the first port given; what comes back goes to the second."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    asyncio.run(serve(App.from_environment(os.environ), int(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
