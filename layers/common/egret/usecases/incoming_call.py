"""The body of a webhook call about mail that came in."""

from __future__ import annotations

import re
from typing import Final

from egret.contracts.encoding import encode_webhook
from egret.contracts.records import StoredMail
from egret.contracts.webapi import IncomingMessage, IncomingMeta
from egret.core.parse import ParsedMessage, parse_message
from egret.usecases.mailbox import people_of, structure_of

_SPACE: Final = re.compile(r"\s+")


def incoming_payload(mail: StoredMail, raw: bytes, event_id: str) -> bytes:
    """Return the JSON body that tells of a mail. raw: the message."""
    parsed = parse_message(raw)
    return encode_webhook(
        IncomingMessage(
            from_=people_of(parsed.from_),
            to=people_of(parsed.to),
            cc=people_of(parsed.cc),
            bcc=people_of(parsed.bcc),
            reply_to=people_of(parsed.reply_to),
            subject=parsed.subject,
            message_id=parsed.message_id,
            in_reply_to=parsed.in_reply_to,
            references=tuple(map(_canonical, parsed.references)),
            date=parsed.date,
            text=parsed.text,
            html=parsed.html,
            structure=structure_of(parsed.structure),
            meta=_meta(mail, parsed),
            event_id=event_id,
        )
    )


def _meta(mail: StoredMail, parsed: ParsedMessage) -> IncomingMeta:
    return IncomingMeta(
        msg_id=mail.id,
        mail_from=mail.mail_from,
        mail_from_validated=mail.mail_from_validated,
        msg_from_validated=mail.msg_from_validated,
        rcpt_to=mail.rcpt_to,
        dkim_verified_domains=mail.dkim_domains,
        remote_ip=mail.remote_ip,
        received=mail.received_at,
        mailbox_name=mail.mailbox,
        automated=not mail.mail_from or parsed.is_automated,
        thread_id=mail.thread,
    )


def _canonical(message_id: str) -> str:
    """Return a Message-ID as the reference writes it in calls: in lower case, without space, in angle brackets."""
    return f"<{_SPACE.sub('', message_id).strip('<>').lower()}>"
