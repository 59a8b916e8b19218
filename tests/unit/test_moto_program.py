"""What `make moto` says when it cannot serve."""

from __future__ import annotations

import socket

import pytest

from tests.emulators import main


@pytest.mark.parametrize("port", ["99999", "0", "abc", ""])
def test_what_is_no_port_is_refused(capsys: pytest.CaptureFixture[str], port: str) -> None:
    """With the sentence that `make serve` has for it; it does not start and say nothing."""
    assert main(["--port", port]) == 1
    assert capsys.readouterr().err == f"PORT={port!r} is no port: give a number from 1 to 65535\n"


def test_a_port_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not wait for the other one to go."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]

        assert main(["--port", str(port)]) == 1
    assert f"port {port} is taken" in capsys.readouterr().err
