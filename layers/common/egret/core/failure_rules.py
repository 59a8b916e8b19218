"""What servers and reports say in words when mail fails, as data: families of phrases, each with where it is from.

How phrases are written is said in `wording`. The rules stand in the order in which they are believed: what is about
the moment, the sender or the message comes before what is about the recipient, because such replies often name the
recipient as well; vague words come last.
"""

from __future__ import annotations

from dataclasses import dataclass

from egret.core.failure_class import FailureClass


@dataclass(frozen=True, slots=True)
class Rule:
    """A family of phrases that mean one class. example: a text that has one of the phrases."""

    failure: FailureClass
    source: str
    example: str
    phrases: str
    is_sure: bool = False
    """Whether the words mean the same whoever says them, and when: they are about a domain, or about a directory."""
    is_vague: bool = False
    """Whether any enhanced code that says something is believed more than these words."""


RULES: tuple[Rule, ...] = (
    # --- the moment ---
    Rule(
        FailureClass.RATE,
        "Postfix smtpd_client_*_limit, Exim smtp_accept_max and ratelimit, Gmail 4.7.28, Yahoo TSS04, QQ help 20022",
        "421 4.7.0 mx.example.net Error: too many connections from 192.0.2.7",
        """
        rate limit* | ratelimit* | sending rate | unusual rate | rate … prevents | mail at a rate | throttl*
        frequency limit* | frequency … limited | too many connections | too many concurrent | too many sessions
        too many simultaneous | too many emails | too many mails | too much mail from | too many recipients this
        sent to too many | too many errors | too many requests | too many failed | too many invalid | per hour
        per minute | messages per day | emails per day | hourly limit | daily limit | sending limit*
        connection limit* | maximum number of connections | maximum connections | concurrent connections | slow down
        too quickly | too frequent*
        """,
    ),
    Rule(
        FailureClass.RATE,
        "RFC 6647 (greylisting); Postgrey, milter-greylist, rspamd",
        "450 4.2.0 <ann@example.net>: Recipient address rejected: Greylisted, see http://help.example/",
        "greylist* | graylist* | grey listed | gray listed",
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "cPanel's router fail_remote_domains of Exim: the domain has neither MX nor address",
        "The mail server could not deliver mail to ann@nowhere.example. The account or domain may not exist, they may"
        " be blacklisted, or missing the proper dns entries.",
        "account or domain may not exist",
        is_sure=True,
    ),
    # --- who we are ---
    Rule(
        FailureClass.AUTHENTICATION,
        "RFC 7208 8.4, RFC 6376, RFC 7489 10.3, RFC 7372; Gmail 5.7.26, Microsoft 5.7.509 and 5.7.515",
        "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy",
        "spf | dkim | dmarc | sender policy framework | senderid | unauthenticated | purported responsible address",
    ),
    Rule(
        FailureClass.AUTHENTICATION,
        "RFC 4954 section 6, RFC 3207 section 4; qmail-smtpd and POP-before-SMTP patches",
        "530 5.7.0 Must issue a STARTTLS command first",
        """
        authentication required | authentication is required | auth is required | authentication needed
        auth required | requires authentication | must authenticate | must be authenticated | please authenticate
        not authenticated | authentication fail* | authentication unsuccessful | authentication credentials
        log in first | smtp authentication | check mail first | pop before | issue a starttls | starttls is required
        require tls | starttls required | requires tls | must use tls | tls required | encryption required
        encryption needed | tls handshake | certificate verify failed | tls is required
        """,
    ),
    Rule(
        FailureClass.REPUTATION,
        "RFC 5782; Postfix reject_rbl_client; the lists' own pages: Spamhaus, SpamCop, SORBS, Barracuda, UCEPROTECT",
        "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example.org",
        """
        blocked using | blocklist* | block list | blacklist* | black list* | denylist* | deny list | dnsbl* | rbl
        rbls | blackhole* | spamhaus* | spamcop* | sorbs* | barracudacentral* | uceprotect* | mailspike* | abuseat*
        senderscore* | senderbase* | dynablock* | is listed in | is listed on | is listed at | is listed by
        listed at | dynamic ip* | dynamic address* | dialup* | dial up | residential ip | our block list
        """,
    ),
    Rule(
        FailureClass.REPUTATION,
        "Gmail 4.7.0, Microsoft S3150 and 5.7.606, Yahoo TSS, Comcast and GMX postmaster pages",
        "550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. Part of their network is on our block list",
        """
        reputation | user complaints | part of their network | your ip … blocked | ip … blocked | blocked ip
        blocked … ip address | ip … banned | banned … ip | ip address … rejected | ip address … refused
        your network | source of spam | server … blocked | host … blocked | client host rejected | client … blocked
        delist* | removed from … list | connection denied | connections not accepted from
        connections from … refused | host network not allowed | unsolicited … ip | spam from your | access from ip
        your server … abuse | spamming
        """,
    ),
    Rule(
        FailureClass.REPUTATION,
        "RFC 1912 2.1, RFC 5321 4.1.4; Postfix reject_unknown_client_hostname, reject_invalid_helo_hostname",
        "450 4.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.7]",
        """
        ptr | reverse dns | rdns | reverse lookup | reverse hostname | reverse address | find your hostname
        ip name lookup failed | unverifyable … ip* | unverifiable … ip* | no reverse | invalid helo
        helo command rejected | helo … rejected | helo … invalid | ehlo … invalid | ehlo … rejected | helo name
        bad helo | valid fqdn | valid host name | dns entries for | not be mail exchanger | valid sender domain
        hostname … ip address | dns … your server | resolve … ip address
        """,
    ),
    # --- the sender's address ---
    Rule(
        FailureClass.POLICY,
        "RFC 3463 X.1.7 and X.1.8; Postfix reject_unknown_sender_domain; Exim verify = sender",
        "550-Verification failed for <shop@example.com> 550-No Such User Here 550 Sender verify failed",
        """
        sender verify | sender verification | verification failed for | callout | callback | sender address
        senders address | senders email address | sender email address | address of the sender | sender domain
        senders domain | domain of sender | sender rejected | sender denied | sender blocked | sender is blocked
        sender not | sender is not | invalid sender | bad sender | unknown sender | verify sender | sender refused
        return address | return path | envelope sender | envelope from | from address | mail from domain
        reject mail from | mail from … rejected | mail from … refused | mail from … blocked | bogus mail from
        accept mail from | accept email from | accept messages from | accepting mail from | accepting email from
        null sender | empty sender | backscatter | does not like sender
        """,
    ),
    Rule(
        FailureClass.POLICY,
        "RFC 3463 X.7.1; sendmail check_rcpt, Postfix reject_unauth_destination, qmail rcpthosts",
        "554 5.7.1 <ann@example.net>: Relay access denied",
        """
        relay access denied | relaying denied | relay denied | relaying prohibited | relaying not | relay not
        relaying is | relaying to | relaying mail | relay operation | relay rejected | relay prohibited | rcpthosts
        cannot relay | cant relay | unable to relay | not relay | no relay | dont relay | we do not relay
        refused to relay | to relay | prohibit relaying | domain isnt in my list | smtp server of your isp
        not a local domain | open relay
        """,
    ),
    Rule(
        FailureClass.POLICY,
        "Mailman, majordomo and Google Groups: who may post; Exchange 5.7.1 and 5.7.133",
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; sender not authorised for group",
        """
        permission to post | allowed to post | not authorized to post | subscribers only | members only
        post messages to | restricted … distribution | moderated | permission to send | allowed to send
        authorized to send | authorised to send | permission to email | notauthorized | notauthenticated
        sendernotauthenticatedforgroup | only accept* messages from
        """,
    ),
    # --- the mailbox, alive ---
    Rule(
        FailureClass.MAILBOX_FULL,
        "RFC 3463 X.2.2, RFC 5321 4.2.3 (552); Dovecot, Cyrus, Exchange, Gmail, Yahoo, mail.local(8)",
        "552 5.2.2 <ann@example.net>: user is over quota",
        """
        mailbox full | mailbox is full | mailbox … full | mail box … full | inbox … full | folder is full
        mailfolder is full | account is full | box is full | quota | overquota | over quota | storage limit
        out of storage | exceeded … storage | storage … exceeded | exceeds … storage | not enough storage
        mailbox exceed* | mailbox has exceed* | mailbox … exceeded | mailbox size limit | too much mail data
        too many messages … mailbox | no space … mailbox | mailbox space | postfach ist voll | postfach voll
        quota dépassé | boîte … pleine | casella … piena | buzón … lleno | переполнен | *容量*
        """,
    ),
    Rule(
        FailureClass.SIZE,
        "RFC 1870 section 6, RFC 3463 X.2.3 and X.3.4; Postfix message_size_limit",
        "552 5.3.4 Message size exceeds fixed maximum message size: 20971520 bytes",
        """
        message size | size limit | size exceeds | maximum size | exceeds … size | exceeded … size | exceed … size
        maximum message size | too large | too big | message length exceeds | size … exceeds | larger than the
        mail data … exceeds
        """,
    ),
    # --- the message ---
    Rule(
        FailureClass.CONTENT,
        "RFC 3463 X.6.x and X.7.1; SpamAssassin, Amavis, ClamAV, rspamd, Gmail UnsolicitedMessageError",
        "554 5.7.1 This message has been blocked because it contains spam",
        """
        spam | antispam | spam* score | is spam | junk mail | junk email | unsolicited | uce | ube | bulk mail
        virus | viruses | infected | malware | trojan | worm | phish* | malicious | message content | its content
        content rejected | content … rejected | content filter* | prohibited content | blocked … content
        dangerous attachment | illegal attachment | attachment … not allowed | attachment … blocked
        executable attachment | header error | bare lf | bare cr | bare linefeed | rfc 5322 | rfc 2822 | rfc 822
        rfc5322 | rfc2822 | rfc822 | multiple addresses in from | invalid header | malformed | message looks like
        suspicious
        """,
    ),
    # --- the recipient ---
    Rule(
        FailureClass.RECIPIENT_REFUSES,
        "RFC 5248 X.7.x; Facebook RCP-P2, docomo and au: filters that the owner of the mailbox sets",
        "550 5.1.1 RCP-P2 http://postmaster.example/ Refused due to recipient preferences",
        """
        recipient preferences | recipients preferences | blocked by recipient | blocked by user
        refused by recipient | rejected by recipient | recipient has blocked | recipient does not accept
        user does not accept | message filtered | mail filtered | recipient does not want | not accepting mail
        not accepting messages | accepting mail with | not accepting email | due to extended inactivity
        refuses to accept | only accepts mail from | restricted by recipient | recipients filter
        """,
    ),
    Rule(
        FailureClass.MAILBOX_DISABLED,
        "RFC 3463 X.2.1, RFC 5248 X.7.13; Gmail 5.2.1, Yahoo, Zoho, cPanel (suspended accounts)",
        "550 5.2.1 The email account that you tried to reach is disabled",
        """
        account … disabled | mailbox … disabled | user … disabled | disabled recipient | recipient … disabled
        address … disabled | account … suspended | mailbox … suspended | user … suspended | recipient … suspended
        address … suspended | domain … suspended | account … inactive | mailbox … inactive | user … inactive
        recipient … inactive | account not active | user not active | inactive account | inactive user
        inactive recipient | inactive mailbox | disabled account | suspended account | account … deactivated
        mailbox … deactivated | account … locked | mailbox … locked | mailbox … frozen | account … frozen
        account … blocked | temporarily disabled | temporarily suspended | account … expired | account … closed
        mailbox … closed | account … terminated | account … discontinued | user … temporarily unavailable
        currently suspended
        """,
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "RFC 3463 X.1.1, RFC 5321 4.2.3 (550, 551, 553); sendmail err.c, Postfix *_recipient_maps, Exim, qmail-local",
        "550 5.1.1 <ann@example.net>: Recipient address rejected: User unknown in virtual mailbox table",
        """
        badrcptto | validrcptto | badrecipientto | envelope recipient has been denied | no longer accepts mail
        no mailbox found | mailbox not present | mailbox is unavailable | not an active address | recipient not ok
        recipient is not local | there is no one at | account unavailable | missing home directory
        name is not found | does not like this recipient | not a known recipient | recipient address is not valid
        unknown to this | user unknown | users unknown | unknown user | unknown users | unknown local user
        unknown recipient | unknown address | unknown mailbox | unknown account | unknown local part | unknown local
        unknown destination address | unknown virtual | unknown in | recipient unknown | recipient … unknown
        address unknown | addressee unknown | mailbox unknown | account unknown | unknown addressee
        unknown or illegal | no such user | no such users | no such recipient | no such mailbox | no such address
        no such account | no such person | no such local | no such alias | no such email | no such addressee
        no user | no mailbox | no valid recipient* | no account by | user not found | users not found
        recipient not found | mailbox not found | account not found | address not found | couldnt be found
        could not be found | cannot be found | wasnt found at | cant be found | user … does not exist
        user … doesnt exist | recipient … does not exist | recipient … doesnt exist | account … does not exist
        account … doesnt exist | address … does not exist | address … doesnt exist | mailbox … does not exist
        mailbox … doesnt exist | user … not exist | account … not exist | address … not exist
        recipient … not exist | mailbox … not exist | does not exist here | no longer exists | no longer valid
        no longer available | no longer active | no longer in use | no longer employed | no longer with
        no longer on | no longer works | does not have an account | doesnt have a | doesnt have an | does not have a
        does not have any | not a known user | not a valid user | not a valid recipient | not a valid mailbox
        not a valid address | not a registered | not our customer | invalid recipient | invalid recipients
        invalid mailbox | invalid address | invalid user | invalid email address | invalid final delivery userid
        recipient is invalid | recipient invalid | recipient … invalid | address is invalid | mailbox … invalid
        email address … invalid | mailbox unavailable | mailbox not available | recipient not recognized
        user not known | not known at | recipient … not known | undeliverable address | bad destination mailbox
        bad address | bad mailbox | bad recipient | illegal user | illegal alias | this user doesnt | not our user
        deleted user | user … deleted | been deleted | account … deleted | account … removed | mailbox … removed
        user … removed | has left | destination address rejected | is not a user | isnt a user | is not a valid
        no one by that name | non existent | nonexistent
        """,
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "HCL (Lotus) Domino and Notes, Exchange: no entry in the directory",
        "User not listed in public Name & Address Book",
        """
        not listed in … name | not listed in … directory | not listed in domino | not found in directory
        not in directory | recipientnotfound | not found in … address book | not found by smtp address lookup
        recipnotfound | exrecipnotfound | *ディレクトリには見つかりません* | recipient name is not recognized
        """,
        is_sure=True,
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "Trend Micro InterScan, MMS gateways of telephone companies: their only words for it",
        "Unable to deliver message to <ann@example.net>. Please check if address is correct.",
        "check if address is correct | no valid recipients for this mm",
        is_sure=True,
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "Microsoft: Directory-Based Edge Blocking answers 5.4.1 for recipients that do not exist",
        "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        "recipient address rejected access denied",
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "The same, in other languages: T-Online, GMX, Orange, Libero, Terra, Mail.Ru",
        "550 Adresse destinataire invalide",
        """
        adresse … invalide | destinataire invalide | destinataire inconnu | utilisateur inconnu | adresse inconnue
        boîte … inexistante | empfänger unbekannt | unbekannter empfänger | benutzer unbekannt | existiert nicht
        postfach … nicht gefunden | benutzer existiert nicht | usuario desconocido | usuario no existe
        no existe dicha persona | no existe ese usuario | nessun utente | adresse nicht gefunden
        dirección no existe | destinatario desconocido | usuário desconhecido | utente sconosciuto
        destinatario sconosciuto | utente non esiste | casella inesistente | onbekende gebruiker
        пользователь не найден | не существует | нет такого пользователя | *收件人不存在* | *用户不存在*
        *宛先不明*
        """,
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "RFC 3463 X.1.2, RFC 7505 (null MX), RFC 1035 (NXDOMAIN); sendmail, Postfix, Exim, qmail-remote",
        "550 5.1.2 <ann@nowhere.example>... Host unknown (Name server: nowhere.example: host not found)",
        """
        domain must exist | host address lookups failed permanently | name or service not known
        domain … is unknown | mail receiving disabled | no mx found for | host unknown | unknown host
        unknown domain | domain unknown | domain not found | domain name not found | no such domain | no such host
        domain … does not exist | domain … doesnt exist | host … does not exist | host not found
        host or domain name not found | domain could not be found | couldnt find any host | invalid domain
        bad destination system | bad host | illegal host | unable to route to domain | no mx record found
        does not accept mail | nullmx | null mx | domain … not accept any | domain has no mail exchangers
        indicated no smtp service | domain is not reachable | no mail exchanger | nxdomain | non existent domain
        nonexistent domain | all relevant mx records point to non | not a valid domain | hostname … not found
        unrouteable address | unrouteable mail domain | unrouteable domain | no ip address found for host
        unknown mail domain | unroutable address
        """,
        is_sure=True,
    ),
    Rule(
        FailureClass.ADDRESS_DEAD,
        "RFC 3463 X.1.6; RFC 5321 3.4 (551)",
        "551 5.1.6 User has moved; please try <ann@new.example>",
        """
        has moved | has been replaced by | user moved | address has changed | has changed their address
        new email address | moved to
        """,
    ),
    # --- the way there, and the systems at its ends ---
    Rule(
        FailureClass.EXPIRED,
        "RFC 3463 X.4.7; Exim retry rules, qmail-send queuelifetime, sendmail Timeout.queuereturn",
        "Retry timeout exceeded",
        """
        retry timeout exceeded | retry time not reached | been in the queue too long | in queue too long
        queue too long | message expired | message has expired | delivery time expired | delivery expired
        delivery … timed out | retry count exceeded | retry limit | delivery attempts … exceeded
        maximum delivery attempts | exceeded … delivery attempts | could not be delivered for
        could not be delivered within | not delivered within | will be deleted from queue | aborted after
        not yet been delivered | has not been delivered | was not delivered … hours | undelivered after
        unable to deliver … hours | unable to deliver … days | unable to deliver … minutes
        delivery failed … attempts | could not send message for | been failing for a long time | queue expired
        hours on the queue
        """,
    ),
    Rule(
        FailureClass.NETWORK,
        "RFC 3463 X.4.1, X.4.2, X.4.4, X.4.6; sendmail, Postfix, Exim, qmail-remote",
        "connect to mx.example.net[192.0.2.7]:25: Connection refused",
        """
        connection refused | connection timed out | connection timeout | operation timed out | connection reset
        connection lost | lost connection | connection closed | connection dropped | connection failed
        network is unreachable | network unreachable | no route to host | host is down
        establish an smtp connection | unable to connect | could not connect | cannot connect | couldnt connect
        connect to | not responding | no response | timed out | timeout | name server* | dns failure | dns error
        dns query | name service error | lookup failed | try again later | mail loop | mail loops | loop detected
        routing loop | too many hops | loops back | hop count | broken pipe | could not find a gateway
        connection died | did not accept our requests to connect | host not reachable | lowest numbered mx
        best preference mx | no route | unreachable | unable to route | cannot route
        """,
    ),
    Rule(
        FailureClass.SYSTEM,
        "RFC 3463 X.3.x; Postfix pipe(8) and local(8), sendmail mailer exit status (sysexits.h)",
        'Command died with status 17: "/usr/local/bin/filter"',
        """
        command died | unknown mailer error | mailer error | cant create output | cannot create
        local configuration error | configuration error | system error | internal error | internal server error
        local error | disk full | disk space | file system full | filesystem full | insufficient system
        insufficient disk | out of memory | resources temporarily | service unavailable | service temporarily
        service not available | pipe to | child process | error writing | temporary local problem | local problem
        temporary failure | temporarily unavailable | temporary error | no space left | system not accepting
        not accepting network | unable to process | processing error | cant open | i o error | permission denied
        error in processing
        """,
    ),
    Rule(
        FailureClass.PROTOCOL,
        "RFC 5321 4.2.2 (500 to 504), RFC 3463 X.5.x",
        "500 5.5.1 Command unrecognized",
        """
        command unrecognized | command not recognized | unrecognized command | syntax error | bad sequence
        command not implemented | parameter not | protocol error | need rcpt | need mail command
        unexpected command | unsupported command
        """,
    ),
    # --- vague: a refusal, of whatever ---
    Rule(
        FailureClass.POLICY,
        "RFC 3463 X.7.0 and X.7.1; Postfix access(5), Exim ACLs, Exchange transport rules, Mimecast, Proofpoint",
        "554 5.7.1 Rejected due to local policy",
        """
        policy | policies | access denied | not permitted | not allowed | prohibited | forbidden | restricted
        restriction* | unauthorized | not authorized | not authorised | permission | blocked | denied | banned
        security policy | violation* | transport rule | administratively | dont accept | will not accept
        """,
        is_vague=True,
    ),
)
