"""The backends of the contract suites, and accounts that no other test uses."""

from __future__ import annotations

import base64
import os

import pytest

from tests.integration.contract.backends import Backend, memory_backend


@pytest.fixture(
    params=[
        "memory",
        pytest.param("moto", marks=pytest.mark.emulator),
        pytest.param("ministack", marks=pytest.mark.emulator),
    ]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every port, on storage that no other test uses: in memory, on moto, on ministack."""
    if request.param == "memory":
        return memory_backend()
    from tests.integration.contract.aws_backend import aws_backend  # noqa: PLC0415 (memory needs no boto3)

    return aws_backend(request.param, request.getfixturevalue(f"{request.param}_endpoint"))


def new_account() -> str:
    """Return the id of an account: 8 characters of lower-case base32."""
    return base64.b32encode(os.urandom(5)).decode().lower()


@pytest.fixture
def account() -> str:
    """The id of an account of this test."""
    return new_account()


@pytest.fixture
def other() -> str:
    """The id of another account of this test."""
    return new_account()
