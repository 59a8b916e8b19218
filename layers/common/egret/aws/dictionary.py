r"""Preset dictionaries of `codec`, by number. Never change one that was released: add the next.

What is most common stands last, where a reference to it is shortest (RFC 1950 2.2). Line breaks of this file are not
part of them: `\r` stands for CRLF.
"""

from __future__ import annotations

_HTML = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta http-equiv="Content-Type" content="text/html; charset=
utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1.0" /><title></title><style type="text/css">
body { margin: 0; padding: 0; } a { color: #333333; text-decoration: none; } .button { display: inline-block; } @media
only screen and (max-width: 600px) { .container { width: 100% !important; } }</style></head><body style=3D"margin: 0;
background-color: #ffffff; font-family: Arial, Helvetica, sans-serif; font-size: 14px; line-height: 1.5; color: #333;">
<table width=3D"100%" border=3D"0" cellspacing=3D"0" cellpadding=3D"0" role=3D"presentation" align=3D"center"><tbody>
<tr><td align="center" valign="top" style="padding: 20px;"><div style="text-align: center; font-weight: bold;"><img src
=3D"https://www." alt=3D"" width=3D"600" height=3D"" style=3D"display: block; border: 0;" /><h1></h1><p style=3D"margin
: 0 0 16px;"></p><br /><strong></strong><span style=3D"font-size: 12px;"><ul><li></li></ul></span><a href=3D"https://"
style=3D"" target=3D"_blank"></a></div></td></tr></tbody></table></body></html><!DOCTYPE html><html><body><p>
"""

_ENGLISH = """\
available appointment information application development department government important business company different
 following including particular additional original possible problem question question reason result several situation
 something sometimes statement success support system together understand university usually various without meeting
 minutes morning afternoon evening tonight tomorrow yesterday week weekend month year years today number numbers place
 places public point present process product products program project provide provided purchase quality quickly
 experience example changes change changed changing checked choose closed complete completed condition contact contains
 continue control country customer customers decided delivered delivery described difficult directly discount documents
 download during early either enough entire especially everything everyone expected family finally found further future
 general getting given giving happen having help helpful home house however immediately improve increase inside instead
 interest items join keep know large later latest learn least leave level likely limited little local longer looking
 made make making manage many means members message might money more most mountain moved much music need needed needs
 never next note nothing notice offer offers office often once only open opened option options order ordered orders
 other our outside over own page pages part parts past pay people period person personal phone photo plan plans please
 popular post previous private program ready really receive received recent recently record regular related remember
 remove renew requested required reserve response return review right room same save school second section secure
 security see select selected send sent separate service services set share shipping short should show side sign signed
 simple simply since single site small social some soon special specific start started still store stop street take
 taken takes taking team than thank thanks that the their them then there these they thing things think this those
 though thought three through time times title told too took top total toward travel tried trip try trying turn two
 type under until update updated updates upgrade use used useful user users using value very view visit waiting want
 was watch water way ways website welcome well went were what whatever where whether which while white whole whose why
 will window wish with within wonder word words work working works world would write writing written wrong you your
 yours
 Hello,\rHi \rDear customer,\r\rWe received a request to reset the password for your account. If you did not make
 this request, you can safely ignore this email. This link will expire in 24 hours. To confirm your email address,
 please click the link below: \rhttps://www.example.com/account/verify?token=\r\rThank you for your order! Your
 order number is #. Order date: Payment method: Shipping address: Billing address: Subtotal: Shipping: Tax: Total:
 Quantity: Price: Amount: Invoice number: You can view the status of your order at any time. We will send you another
 email as soon as your items have been shipped. Tracking number: Estimated delivery: Your verification code is: . This
 code is valid for 10 minutes. Do not share it with anyone. We noticed a new sign-in to your account from a new device.
 If this was you, there is nothing you need to do. If this was not you, please change your password immediately. Your
 subscription has been renewed. Your payment has been received. Please do not reply to this email. This message was
 sent to you because you are registered with us. If you have any questions, please contact our support team at support@
 or reply to this message. You are receiving this email because you signed up. If you no longer want to receive these
 emails, you can unsubscribe here. Privacy policy. Terms of service. All rights reserved. Copyright 2025 2026. Welcome
 to our new report is ready, see the details and the attached document for more information about what has happened with
 that which they would have been from this one there were when who their time other then could first after people many
 must through before between because same most does where under last might great since against come right used. Monday
 Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June July August September October
 November December. Sincerely,\rKind regards,\rBest regards,\rThe team\rThanks,\r-- \r
"""

_REPLIES = """\
deferreddelayedfailedsuppressedcanceledbouncedunknown4.7.1 Greylisted, please try again later
4.2.0 Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/4.4.2 connection timed out
421 4.7.0 Try again later, closing connection. (EHLO) 4.2.1 mailbox temporarily unavailable 4.3.2 Service shutting down
5.7.1 Service unavailable; client host blocked using 5.7.26 This mail has been blocked because the sender is
unauthenticated. 5.2.2 The recipient's inbox is out of storage space. Mailbox full. Over quota. 5.5.0 Requested action
 not taken: mailbox unavailable 550 5.1.1 The email account that you tried to reach does not exist. Please try
double-checking the recipient's email address for typos or unnecessary spaces. For more information, go to
https://support.google.com/mail/?p=NoSuchUser - gsmtp
5.1.1 <>: Recipient address rejected: User unknown in virtual mailbox table 5.1.10 RESOLVER.ADR.RecipientNotFound;
Recipient not found by SMTP address lookup the server refused the recipient, permanent: transient: 250 2.0.0 Ok: queued
 as 250 2.0.0 OK - gsmtp 2.6.0 Queued mail for delivery .mail.protection.outlook.com mta5.am0.yahoodns.net
alt1.gmail-smtp-in.l.google.com gmail-smtp-in.l.google.com delivered
"""

_HEADERS = """\
List-Unsubscribe: <https://\rList-Unsubscribe-Post: List-Unsubscribe=One-Click\rAuto-Submitted: auto-generated\r
Precedence: bulk\rX-Priority: 3\rSender: Content-Type: application/pdf; name="invoice.pdf"\rContent-Type: image/png;
 name="\rContent-Disposition: inline; filename="\rContent-Disposition: attachment;\r filename="\rContent-Id: <\r
Content-Type: multipart/mixed;\r boundary="Content-Type: multipart/related;\r boundary="\r
Content-Transfer-Encoding: base64\r\rSubject: =?utf-8?q?_=?=\r =?utf-8?q?In-Reply-To: <\rReferences: <\rReply-To:\rCc:
MIME-Version: 1.0\rUser-Agent: egret/0.1\rContent-Type: multipart/alternative;\r boundary="\r\r--\r
Content-Type: text/html; charset=utf-8\rContent-Type: text/html; charset=us-ascii\rContent-Transfer-Encoding: 7bit\r\r
Content-Transfer-Encoding: quoted-printable\r\r<!DOCTYPE html>\r<html><head><body>
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=.com;\r\ts=egret1;\r\ti=noreply@.example;\r\tt=17;\r
\th=From:From:To:To:Cc:\r\t Bcc:Reply-To:References:In-Reply-To:Subject:\r\t Subject:Date:Date:Message-Id:Message-Id:\r
\t Content-Type:Content-Type:MIME-Version:MIME-Version:Content-Transfer-Encoding:\r\t Content-Transfer-Encoding;\r\tbh=
=;\r\tb=\r\t ==\rDKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d==;\r\tb=\r\t ==\rReceived: from mx. by mx.
 id  for\r <>; Mon, Tue, Wed, Thu, Fri, Sat, Sun, Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec 2025 2027 2026
 00:00:00 +0000\rFrom: "" <no-reply@From: "Support" <support@.com>\rTo: "" <@gmail.com>\rSubject: Your order
 confirmation\rDate: Message-Id: <@\rMIME-Version: 1.0\rUser-Agent: egret/0.1\rContent-Type: text/plain; charset=utf-8\r
Content-Type: text/plain; charset=us-ascii\rContent-Transfer-Encoding: 7bit\r\r
Content-Transfer-Encoding: quoted-printable\r\rHi ,\r\rHello ,\r\r
"""


def _octets(text: str) -> bytes:
    """Return the text without the line breaks of this file; every CR in it becomes CRLF."""
    return text.replace("\n", "").replace("\r", "\r\n").encode()


DICTIONARIES = {1: b"".join(map(_octets, (_REPLIES, _HTML, _ENGLISH, _HEADERS)))}
"""Dictionary by number."""
