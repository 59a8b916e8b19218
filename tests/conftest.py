"""Fixtures and settings of every test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests import emulators

if TYPE_CHECKING:
    from collections.abc import Iterator

# dev: quick, new examples in every run. ci: more of them, and the same ones in every run, so that a red run is
# about the change. HYPOTHESIS_PROFILE chooses; deadlines are off because two shared cores are no clock.
hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The URL of a moto server that lives as long as the tests."""
    with emulators.moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def ministack_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ministack that lives as long as the tests."""
    with emulators.ministack_server(tmp_path_factory.mktemp("ministack")) as url:
        yield url
