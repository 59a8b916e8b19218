"""The composition root on AWS: the only place that reads the environment and knows which adapter serves which port.

Everything is made when first asked for, so that a function makes only the clients it needs: they are what a cold start
costs, the adapters' own imports are not. Except those of the settings: pynamodb is imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from egret.aws.calls import DynamoCalls
from egret.aws.clients import POOL, Clients, Target
from egret.aws.clock import SystemClock, SystemDice
from egret.aws.counters import DynamoAuthFailures, DynamoCounters
from egret.aws.domain_tls import DynamoDomainTls
from egret.aws.due import DynamoDueIndex
from egret.aws.egress_client import HttpEgress
from egret.aws.idempotency import DynamoIdempotency
from egret.aws.kms import KmsKeyWrapper
from egret.aws.mail_store import DynamoMailStore
from egret.aws.mailboxes import DynamoMailboxes
from egret.aws.own_fromids import DynamoOwnFromIds
from egret.aws.poster import HttpWebhookPoster
from egret.aws.reports import DynamoDmarcEvaluations, DynamoReceivedReports, DynamoReportSuppressions
from egret.aws.s3 import S3Blobs
from egret.aws.settings_reader import KEEP, CachedSettings
from egret.aws.sqs import SqsCallQueue, SqsHintQueue
from egret.aws.sts_policies import DynamoStsPolicies
from egret.aws.submitter import LambdaSubmitter
from egret.aws.suppressions import DynamoSuppressions
from egret.aws.table import Table
from egret.aws.tls_results import DynamoTlsResults
from egret.aws.units import DynamoUnits
from egret.contracts.settings import DEFAULT_RETRY, Installation, RetryPolicy
from egret.core.fromid import FromIdKeys
from egret.core.secrets import Secrets, derive, fromid_keys

if TYPE_CHECKING:
    from egret.aws.settings_store import DynamoSettings


class App:
    """One process's view of an installation: every port, and the facts of the deployment.

    environ: as `os.environ`, with the names that template.yaml sets. A variable is read when something needs it: a
    missing one is a KeyError there, so that each function is given only what it uses.
    pool: connections kept to each AWS service, as many as there are threads that call at once.
    """

    def __init__(self, environ: Mapping[str, str], pool: int = POOL) -> None:
        self._environ = environ
        self._pool = pool

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pool: int = POOL) -> App:
        """Return the app of this environment."""
        return cls(environ, pool)

    # --- facts

    @cached_property
    def installation(self) -> Installation:
        """The facts of this deployment."""
        return Installation(
            hostname=self._environ["EGRET_HOSTNAME"],
            retry=self._retry,
            local=self._is_local,
            pedantic=self._environ.get("EGRET_PEDANTIC") == "1",
            public_url=self._environ.get("EGRET_PUBLIC_URL", ""),
        )

    @property
    def _is_local(self) -> bool:
        return self._environ.get("EGRET_LOCAL") == "1"

    @property
    def _retry(self) -> RetryPolicy:
        return RetryPolicy(
            base=self._seconds("EGRET_RETRY_BASE_S", DEFAULT_RETRY.base),
            max_age=self._seconds("EGRET_MAX_AGE_S", DEFAULT_RETRY.max_age),
            lease=self._seconds("EGRET_LEASE_S", DEFAULT_RETRY.lease),
            hint_grace=self._seconds("EGRET_HINT_GRACE_S", DEFAULT_RETRY.hint_grace),
        )

    @property
    def sends_dmarc_reports(self) -> bool:
        """DMARC reports are sent to domains that ask for them."""
        return self._environ["EGRET_DMARC_REPORTS"] == "on"

    @property
    def tls_reporting(self) -> str:
        """Which TLS reports are sent: "failures", "all" or "off"."""
        return self._environ["EGRET_TLS_REPORTS"]

    def _seconds(self, name: str, default: timedelta) -> timedelta:
        given = self._environ.get(name, "")
        return timedelta(seconds=float(given)) if given else default

    @cached_property
    def secrets(self) -> Secrets:
        """The keys of fromids, Message-IDs and cursors."""
        return derive(self._environ["EGRET_SECRET"], self.fromid_keys)

    @cached_property
    def fromid_keys(self) -> FromIdKeys:
        """The keys of fromids, for who needs no others."""
        return fromid_keys(self._environ["EGRET_FROMID_SECRET"])

    # --- the world

    @cached_property
    def clock(self) -> SystemClock:
        """The time of day."""
        return SystemClock()

    @cached_property
    def dice(self) -> SystemDice:
        """Randomness."""
        return SystemDice()

    @cached_property
    def clients(self) -> Clients:
        """The clients of the AWS services."""
        environ = self._environ
        return Clients(
            Target(
                region=environ.get("AWS_REGION") or environ["AWS_DEFAULT_REGION"],
                endpoint_url=environ.get("AWS_ENDPOINT_URL", ""),
                access_key_id=environ.get("AWS_ACCESS_KEY_ID", ""),
                secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY", ""),
                session_token=environ.get("AWS_SESSION_TOKEN", ""),
                profile=environ.get("AWS_PROFILE", ""),
                lambda_url=environ.get("AWS_ENDPOINT_URL_LAMBDA", ""),
            ),
            self._pool,
        )

    @cached_property
    def _mail_table(self) -> Table:
        return Table(self.clients, self._environ["EGRET_MAIL_TABLE"])

    # --- ports over the mail table

    @cached_property
    def store(self) -> DynamoMailStore:
        """Messages and deliveries."""
        return DynamoMailStore(self._mail_table, self.blobs)

    @cached_property
    def due(self) -> DynamoDueIndex:
        """What is due."""
        return DynamoDueIndex(self._mail_table)

    @cached_property
    def idempotency(self) -> DynamoIdempotency:
        """Idempotency-Keys."""
        return DynamoIdempotency(self._mail_table)

    @cached_property
    def own_fromids(self) -> DynamoOwnFromIds:
        """Fromids that submitters chose."""
        return DynamoOwnFromIds(self._mail_table)

    @cached_property
    def counters(self) -> DynamoCounters:
        """Recipients per account and day."""
        return DynamoCounters(self._mail_table)

    @cached_property
    def auth_failures(self) -> DynamoAuthFailures:
        """Failed logins per network."""
        return DynamoAuthFailures(self._mail_table)

    @cached_property
    def suppressions(self) -> DynamoSuppressions:
        """Suppression lists and strikes."""
        return DynamoSuppressions(self._mail_table)

    @cached_property
    def calls(self) -> DynamoCalls:
        """Webhook calls and breakers."""
        return DynamoCalls(self._mail_table)

    @cached_property
    def units(self) -> DynamoUnits:
        """Announcements of egress units."""
        return DynamoUnits(self._mail_table)

    @cached_property
    def mailboxes(self) -> DynamoMailboxes:
        """Mail of the accounts."""
        return DynamoMailboxes(self._mail_table)

    @cached_property
    def sts_policies(self) -> DynamoStsPolicies:
        """MTA-STS policies."""
        return DynamoStsPolicies(self._mail_table)

    @cached_property
    def domain_tls(self) -> DynamoDomainTls:
        """TLS of recipient domains, as accounts saw it."""
        return DynamoDomainTls(self._mail_table)

    @cached_property
    def tls_results(self) -> DynamoTlsResults:
        """Results for TLS reports."""
        return DynamoTlsResults(self._mail_table)

    @cached_property
    def dmarc_evaluations(self) -> DynamoDmarcEvaluations:
        """What DMARC said of mail that came in."""
        return DynamoDmarcEvaluations(self._mail_table)

    @cached_property
    def report_suppressions(self) -> DynamoReportSuppressions:
        """Addresses that get no reports."""
        return DynamoReportSuppressions(self._mail_table)

    @cached_property
    def received_reports(self) -> DynamoReceivedReports:
        """Reports of others."""
        return DynamoReceivedReports(self._mail_table)

    # --- settings

    @cached_property
    def settings(self) -> CachedSettings:
        """Settings through the cache."""
        keep = self._seconds("EGRET_SETTINGS_KEEP_S", KEEP)  # set by local mode alone
        return CachedSettings(self.settings_writer, self.clock, keep)

    @cached_property
    def settings_writer(self) -> DynamoSettings:
        """Settings, uncached, and changes of them."""
        from egret.aws.settings_store import DynamoSettings  # noqa: PLC0415 (pynamodb is for those who need it)

        return DynamoSettings(self.clients, self._environ["EGRET_SETTINGS_TABLE"])

    @cached_property
    def key_wrapper(self) -> KmsKeyWrapper:
        """Encryption of DKIM private keys."""
        return KmsKeyWrapper(self.clients, self._environ["EGRET_KMS_KEY_ID"])

    # --- objects, queues, HTTP

    @cached_property
    def blobs(self) -> S3Blobs:
        """Objects."""
        return S3Blobs(self.clients, self._environ["EGRET_BUCKET"])

    @cached_property
    def hint_queue(self) -> SqsHintQueue:
        """Hints for deliver."""
        return SqsHintQueue(self.clients, self._environ["EGRET_HINT_QUEUE_URL"])

    @cached_property
    def call_queue(self) -> SqsCallQueue:
        """Calls for the webhook poster."""
        return SqsCallQueue(self.clients, self._environ["EGRET_CALL_QUEUE_URL"])

    @cached_property
    def submitter(self) -> LambdaSubmitter:
        """The way from the SMTP listener to the submission function."""
        return LambdaSubmitter(self.clients, self._environ["EGRET_SUBMIT_FUNCTION"], self.blobs)

    @cached_property
    def egress(self) -> HttpEgress:
        """The way to egress units."""
        return HttpEgress(self._environ["EGRET_HANDOFF_SECRET"])

    @cached_property
    def poster(self) -> HttpWebhookPoster:
        """HTTP to customers' webhooks."""
        return HttpWebhookPoster(allow_loopback=self._is_local)
