"""What the operator is told when the installation does not answer."""

from __future__ import annotations

from argparse import Namespace

import pytest

from egret.core.errors import Unavailable
from egret_cli.__main__ import run
from egret_cli.command import Ports


def _unreachable(_: Namespace) -> Ports:
    raise Unavailable(detail="dynamodb Query: EndpointConnectionError")


@pytest.mark.parametrize(("words", "asked"), [(["--local"], True), (["--stack", "s"], False)])
def test_local_mode_that_does_not_answer_is_asked_after(
    capsys: pytest.CaptureFixture[str], words: list[str], *, asked: bool
) -> None:
    """Its state stays when it ends, so that the command finds the installation and nobody there."""
    assert run([*words, "account", "list"], _unreachable) == 1
    assert ("Is `make serve` running?" in capsys.readouterr().err) is asked
