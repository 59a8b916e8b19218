"""Clients of the AWS services, made when first used, and what their failures mean to us.

One botocore session for all; the configuration is chosen for many small calls: no validation of parameters (the
adapters are tested instead), a fixed User-Agent (building the long one costs a tenth of a call), kept connections.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from egret.aws.jsonapi import DYNAMODB, SQS, JsonApi, Limits, Observer, Service
from egret.aws.sigv4 import Credentials
from egret.core.errors import ContractError, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CONNECT_TIMEOUT_S = 1.5
"""A healthy endpoint in the region connects in milliseconds; waiting longer only holds up the retry."""
READ_TIMEOUT_S = 3.0
"""Of one attempt. All attempts of a call that hangs end well before the shortest-lived function does: its caller
hears 503 instead of the gateway's own error."""
ATTEMPTS = 4
"""Of one call, the first one included."""
S3_READ_TIMEOUT_S = 5.0
"""Objects are large, and S3 thinks longer than a table does."""
S3_ATTEMPTS = 3
INVOKE_READ_TIMEOUT_S = 35.0
"""Of a call of a function that is waited for: longer than the function may take."""
MALFORMED = frozenset({"ValidationException", "SerializationException"})
"""What a service says to a request that it will never take: trying again would not end."""
POOL = 16
"""Connections kept to each service unless told: a function's own threads are at most half as many."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where AWS is. endpoint_url: of an emulator, "" for AWS itself. Empty credentials: botocore finds its own.

    profile: of the configuration files, whose credentials are used before any of the environment; "" for none.
    lambda_url: of Lambda, where it is elsewhere than the rest.
    """

    region: str
    endpoint_url: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    profile: str = ""
    lambda_url: str = ""


class Clients:
    """The clients of one process; safe for threads.

    pool: connections kept per service; as many as there are threads that call at once. observers: told of each call of
    the short ways; to be added before the first of them.
    """

    def __init__(self, target: Target, pool: int = POOL) -> None:
        self.session = botocore.session.Session(profile=target.profile or None)
        self._target = target
        self._pool = pool
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.observers: list[Observer] = []

    @cached_property
    def dynamodb_api(self) -> JsonApi:
        """DynamoDB by the short way."""
        return self._api(DYNAMODB)

    @cached_property
    def sqs_api(self) -> JsonApi:
        """SQS by the short way."""
        return self._api(SQS)

    def _api(self, service: Service) -> JsonApi:
        limits = Limits(CONNECT_TIMEOUT_S, READ_TIMEOUT_S, ATTEMPTS, self._pool)
        target = self._target
        return JsonApi(service, (target.region, target.endpoint_url), self._credentials, limits, self.observers)

    def _credentials(self) -> Credentials | None:
        """Return the credentials given, or those that botocore finds; it renews what runs out."""
        target = self._target
        if target.access_key_id:
            return Credentials(target.access_key_id, target.secret_access_key, target.session_token)
        with self._lock:  # the first search is not safe for threads
            found = self.session.get_credentials()
        if found is None:
            return None
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    @property
    def dynamodb(self) -> DynamoDBClient:
        """The client of DynamoDB."""
        client: DynamoDBClient = self._client("dynamodb")
        return client

    @property
    def sqs(self) -> SQSClient:
        """The client of SQS."""
        client: SQSClient = self._client("sqs")
        return client

    @property
    def s3(self) -> S3Client:
        """The client of S3."""
        client: S3Client = self._client("s3")
        return client

    @property
    def kms(self) -> KMSClient:
        """The client of KMS."""
        client: KMSClient = self._client("kms")
        return client

    @property
    def functions(self) -> Any:
        """The client of Lambda."""
        return self._client("lambda")

    def _client(self, service: str) -> Any:
        if service not in self._made:
            with self._lock:  # botocore's sessions are not safe for threads
                if service not in self._made:
                    self._made[service] = self._make(service)
        return self._made[service]

    def _make(self, service: str) -> Any:
        target = self._target
        return self.session.create_client(
            service,
            region_name=target.region,
            endpoint_url=(target.lambda_url if service == "lambda" else "") or target.endpoint_url or None,
            aws_access_key_id=target.access_key_id or None,
            aws_secret_access_key=target.secret_access_key or None,
            aws_session_token=target.session_token or None,
            config=_config(service, self._pool),
        )


def _config(service: str, pool: int) -> Config:
    """Return the configuration of a service's client."""
    read_timeout, attempts = _PATIENCE.get(service, (READ_TIMEOUT_S, ATTEMPTS))
    return Config(
        user_agent="egret",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        parameter_validation=False,
        tcp_keepalive=True,
        max_pool_connections=pool,
        signature_version="s3v4" if service == "s3" else None,  # S3 presigns in an older way unless told
    )


# A function that was called twice would have done its work twice.
_PATIENCE = {"s3": (S3_READ_TIMEOUT_S, S3_ATTEMPTS), "lambda": (INVOKE_READ_TIMEOUT_S, 1)}


class calling:  # noqa: N801 (it stands behind `with`, like those of contextlib)
    """Turn what botocore raises inside into Unavailable, or ContractError where the request is a fault of ours.

    what: service and operation, for the log. A class, since a generator takes several times as long for each call.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raise what the failure means, if there was one."""
        if isinstance(error, ClientError):
            raise failure(self._what, _telling_code(error), _sentence(error)) from error
        if isinstance(error, BotoCoreError):
            raise Unavailable(detail=f"{self._what}: {type(error).__name__}: {error}") from error


def failure(what: str, code: str, sentence: str) -> Unavailable | ContractError:
    """Return the error for a refusal. code: as the service gave it; sentence: for the log, cut."""
    kind = ContractError if code in MALFORMED else Unavailable
    return kind(detail=f"{what}: {code}: {sentence[:200]}")


def code_of(error: ClientError) -> str:
    """Return the code that the service gave, such as ConditionalCheckFailedException."""
    return error.response.get("Error", {}).get("Code", "")


def _telling_code(error: ClientError) -> str:
    """Return the code; for a transaction that was canceled since a part of it is malformed, the code for that."""
    reasons: Any = error.response.get("CancellationReasons", [])
    is_malformed = any(reason.get("Code") == "ValidationError" for reason in reasons)
    return "ValidationException" if is_malformed else code_of(error)


def _sentence(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Message", "")
