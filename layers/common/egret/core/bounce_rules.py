"""How reports without a machine-readable part look, as data: each rule with its source and an example.

How phrases are written is said in `wording`. A new format is a new row here; the reader in `plain_bounce` knows none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """Phrases by which something is recognised. example: a text that has one of them."""

    name: str
    source: str
    example: str
    phrases: str


SENDERS = Mark(
    "sender",
    "RFC 5321 6.1 and RFC 2142 5: who reports trouble; names as MTAs give them by default",
    "Mail Delivery Subsystem <MAILER-DAEMON@mx.example>",
    """
    mailer daemon | mailerdaemon | mail daemon | post master | sysadmin | maildaemon | mdaemon | postmaster
    mail delivery | mail deliver | mail system | mailsystem | mail administrator | system administrator
    mail router | delivery subsystem | internet mail | delivery system | mail server | email delivery
    microsoft exchange
    """,
)

SUBJECTS = Mark(
    "subject",
    "The default subjects of sendmail, Postfix, Exim, qmail, Exchange, Domino, Courier, GroupWise, Gmail and Yahoo",
    "Undelivered Mail Returned to Sender",
    """
    undeliver* | undelivered | non delivery | nondeliver* | non deliverable | not delivered | not deliverable
    non remis* | unzustellbar* | delivery fail* | failed delivery | failure delivery | failure notice
    failure notification | delivery status | delivery report | delivery problem* | delivery notification
    delivery error* | delivery delay* | delivery attempt* | delivery unsuccessful | delivery has failed
    delivery … failed | delivery incomplete | delivery warning | delivery subsystem | delivery was delayed
    returned mail | returned to sender | return to sender | mail returned | message returned | bounce notification
    returned email | returned message | mail delivery | mail failure | mail failed | mail error | email error
    failed mail | failed message | mail system error | mail not delivered | could not be delivered
    couldnt be delivered | could not deliver | unable to deliver | cannot be delivered | cannot deliver
    problem delivering | message not delivered | message bounced | message delayed | message frozen
    in forwarding or filtering | error delivering | error sending | could not send | undeliverable mail
    fehler bei der | warning message | warning could not send | transcript for details | user unknown | unknown user
    unknown address | nicht zugestellt | nicht zustellbar | unzustellbare | zustellung … fehlgeschlagen
    zustellfehler | mail konnte nicht | échec | non distribué | non remise | remise … retardée
    no se puede entregar | no se pudo entregar | no entregado | devuelto | mancato recapito | mancata consegna
    não entregue | falha na entrega | niet bestelbaar | onbestelbaar | kan niet worden bezorgd | не доставлено
    недоставленное | *エラー通知* | *配信不能* | *配信できません* | *送信エラー* | *配信に失敗* | *送信に失敗*
    *退信* | *投递失败* | *配送失敗*
    """,
)

OPENINGS = Mark(
    "opening",
    "What the same programs say first",
    "A message that you sent could not be delivered to one or more of its recipients.",
    """
    could not be delivered | couldnt be delivered | cannot be delivered | can not be delivered | was not delivered
    were not delivered | has not been delivered | have not been delivered | not yet been delivered
    not been delivered | could not deliver | cannot deliver | unable to deliver | not able to deliver
    wasnt able to deliver | failed to deliver | delivery … failed | failed to be delivered
    following address* … failed | following address* had | following recipient* | did not reach | didnt reach
    did not receive | failed permanently | permanent fatal errors | transient non fatal errors | permanent error
    delivery error* | delivery problem* | delivery failure* | undelivered | undeliverable | non delivered
    being returned | returned to sender | message returned | returned to you | failure reasons | reasons for failure
    failed address* | failed recipient* | delivery status notification | delivery was aborted
    permanent fatal delivery | could not send | unable to send | message bounced
    error has occurred while attempting to deliver | recipients were affected | had trouble delivering
    rejected recipient | email you sent was rejected | message was rejected | message has been rejected
    because of the following | mail delivery error | fehler bei der zustellung
    fehler bei der nachrichtenzustellung | zustellung … fehlgeschlagen | na pas pu être | na pas été remis
    delivery attempt* | mail delivery failed | transcript of session | invalid final delivery
    has encountered delivery | konnte nicht zugestellt | nicht zugestellt werden | konnte nicht ausgeliefert
    na pu être remis | no se ha podido entregar | no se pudo entregar | impossibile recapitare
    não pôde ser entregue | kon niet worden | не может быть доставлено | не удалось доставить | *配信できません*
    *届けられません* | *送信に失敗* | *配信に失敗* | error message below | *送信できません* | *无法投递* | *被退回*
    """,
)

DELAYS = Mark(
    "delay",
    "RFC 3464 2.3.3 (delayed), as Exim, sendmail, Postfix, Exchange and Gmail say it in words",
    "A message that you sent has not yet been delivered to one or more of its recipients after more than 24 hours",
    """
    not yet been delivered | delivery attempts will continue | will continue to be attempted | will keep trying
    will be retried | will continue trying | will try again | still trying | will continue to try
    no action is required on your part | you do not need to resend | warning message only | this is a warning
    has been delayed | delivery delayed | delivery is delayed | was delayed | not been delivered yet
    transient non fatal errors | could not send message for past | could not send mail for past
    delivery temporarily suspended
    """,
)

COPIES = Mark(
    "copy",
    "The line before the returned message: qmail, Exim, sendmail, Domino, Exchange, Yahoo, GroupWise and others",
    "------ This is a copy of the message, including all the headers. ------",
    """
    copy of the message | copy of your message | copy of the original | copy of your original
    original message follows | original message headers | original message header | original headers
    headers of the original | header of the original | message header follows | message headers follow
    message headers | message header | returned message | returned mail | return message | unsent message below
    unsent message follows | undelivered message | undeliverable message | non delivered message
    nondelivered message | begin message | original message | original mail | original text follows
    original content | message text follows | message follows | forwarded message | your original message
    your message reads | body of message | message body follows | rejected message | failed message
    included message | message that caused | begin of returned | start of returned | start of message
    headers follow | header follows | transcript of message | text of message | original mail header | mail header
    first 100 lines
    """,
)

FORMATS: tuple[Mark, ...] = (
    Mark(
        "qmail",
        "qmail-send(8); qmail-inject",
        "Hi. This is the qmail-send program at mx.example.",
        "qmail send program",
    ),
    Mark(
        "exim",
        "Exim specification chapter 49; src/deliver.c",
        "This message was created automatically by mail delivery software.",
        "created automatically by mail delivery software",
    ),
    Mark(
        "postfix",
        "Postfix bounce(5)",
        "This is the mail system at host mx.example.",
        "mail system at host | postfix program at host",
    ),
    Mark(
        "sendmail",
        "sendmail savemail.c",
        "   ----- The following addresses had permanent fatal errors -----",
        "had permanent fatal errors | had transient non fatal errors | transcript of session follows",
    ),
    Mark(
        "exchange",
        "Microsoft Exchange 5.5 to 2019: NDR texts",
        "Your message did not reach some or all of the intended recipients.",
        "did not reach the following recipient | did not reach some or all | delivery has failed to these",
    ),
    Mark(
        "domino",
        "HCL (Lotus) Domino and Notes SMTP MTA",
        "------- Failure Reasons  --------",
        "failure reasons | lotus notes",
    ),
    Mark(
        "courier",
        "courier(8), submit(8)",
        "UNDELIVERABLE MAIL. Your message to the following recipients cannot be delivered:",
        "undeliverable mail your message",
    ),
)
"""The first whose phrase is there gives the format its name; the others are `text`."""

LABELS = Mark(
    "label",
    "Words before a colon and an address that failed",
    "Recipient",
    """
    recipient | recipients | to | address | addresses | user | mailbox | email address | failed | delivery to
    deliver to | addressed to | expanded from | rcpt to | undeliverable | delivered to | sent to | message to
    mail to | final recipient | original recipient | failed recipient | intended recipient
    """,
)

OTHERS = Mark(
    "other",
    "Words before an address of somebody else: who sent the message, or who can help",
    "For further assistance, please contact",
    """
    from | sender | mail from | contact | help | assistance | reply to | questions | please write | write to
    email us | support | administrator | postmaster | sent by | originator | message id | received | cc | reply
    authenticated | by | report* | return path | forward | subject
    """,
)

FAILS = Mark(
    "fail",
    "Words in a sentence about an address that failed",
    "Delivery to the recipient failed:",
    """
    failed | fail | undeliverable | not delivered | could not | cannot | unable | unknown | invalid | rejected
    refused | not found | does not exist | full | over quota | not able | no mailbox | no account | inactive | quota
    exceeded | expired | undelivered | bad | suspended | not recognized | not known | not reach | not receive
    problem | problems | error | errors | addressed to | returned | bounced | not exist | no such | not accept*
    disabled | not a valid
    """,
)
