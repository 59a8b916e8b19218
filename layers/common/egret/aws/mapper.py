"""pynamodb over the client of DynamoDB that everything else uses.

Left alone, pynamodb makes a botocore session and a client of its own, from the environment and with other timeouts, and
keeps them on the class of the model. Here a model is bound to one table of one `Clients`: by a subclass, so that two
installations in one process never share anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pynamodb.attributes import Attribute
from pynamodb.connection import Connection, TableConnection
from pynamodb.connection.base import MetaTable
from pynamodb.exceptions import PynamoDBException
from pynamodb.models import Model

from egret.aws.clients import Clients, failure
from egret.contracts.settings import Scope

if TYPE_CHECKING:
    from pynamodb.connection._botocore_private import BotocoreBaseClientPrivate

M = TypeVar("M", bound=Model)

SECOND = timedelta(seconds=1)
FAILED = "ConditionalCheckFailed"
"""The code of a part of a transaction whose condition does not hold; of a single write, with `Exception` after it."""


class DurationAttribute(Attribute[timedelta]):
    """A duration as a number of seconds, exact to the microsecond."""

    attr_type = "N"

    def serialize(self, value: timedelta) -> str:
        """Return the number."""
        return f"{value // SECOND}.{value % SECOND // timedelta(microseconds=1):06d}"

    def deserialize(self, value: str) -> timedelta:
        """Return the duration of a number."""
        return timedelta(seconds=float(value))


class ScopeAttribute(Attribute[Scope]):
    """The scope of a key, by its value."""

    attr_type = "S"

    def serialize(self, value: Scope) -> str:
        """Return the value."""
        return value.value

    def deserialize(self, value: str) -> Scope:
        """Return the scope."""
        return Scope(value)


class SharedConnection(Connection):
    """A connection of pynamodb's that has no client of its own; none is made before it is used."""

    def __init__(self, clients: Clients) -> None:
        super().__init__(region="of the client")
        self._clients = clients

    @property
    def client(self) -> BotocoreBaseClientPrivate:
        """The client of DynamoDB, with its region, endpoint, credentials, timeouts and retries."""
        return cast("BotocoreBaseClientPrivate", self._clients.dynamodb)


def connect(clients: Clients, name: str) -> TableConnection:
    """Return the connection to a table with string keys `pk` and `sk`."""
    keys = {"pk": "HASH", "sk": "RANGE"}
    table = TableConnection(name, region="of the client")
    table.connection = SharedConnection(clients)
    table.connection.add_meta_table(
        MetaTable(
            {
                "TableName": name,
                "KeySchema": [{"AttributeName": key, "KeyType": type_} for key, type_ in keys.items()],
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
            }
        )
    )
    return table


def bound(model: type[M], table: TableConnection) -> type[M]:
    """Return the model on a table."""
    meta = type("Meta", (), {"table_name": table.table_name})
    class_of: Any = type(model)
    return cast("type[M]", class_of(model.__name__, (model,), {"Meta": meta, "_connection": table}))


@contextlib.contextmanager
def mapping(what: str) -> Iterator[None]:
    """Turn what pynamodb raises inside into what `calling` makes of it. what: service and operation, for the log."""
    try:
        yield
    except PynamoDBException as error:
        code = error.cause_response_code or type(error.cause).__name__
        raise failure(what, code, error.cause_response_message or str(error.cause)) from error
