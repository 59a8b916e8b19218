"""Settings of local mode, from environment variables; every port can be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REGION: Final = "eu-west-1"
HOST = "127.0.0.1"
SUBMIT_FUNCTION: Final = "SubmitFunction"
"""The function that the egress calls: neither the API nor an event source is in front of it."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where everything listens and keeps its state.

    root: the checkout. state: folder of everything that survives a restart. real: speak to real MX hosts.
    fresh: forget the state first. retry_base_s: wait after the first attempt (it doubles), short so that retries show.
    sweep_s: pause between two sweeps (a minute on AWS). resolver: host:port of a DNS server, "" = the system's.
    shaping: path of an own shaping file, "" = none. submission_port, submissions_port: STARTTLS, and TLS from the first
    byte. invoke_port: of the function that is called directly.
    """

    root: Path
    state: Path
    http_port: int
    smtp_port: int
    submission_port: int
    submissions_port: int
    egress_port: int
    receiver_port: int
    sink_port: int
    emulator_port: int
    invoke_port: int
    real: bool
    fresh: bool
    retry_base_s: float
    sweep_s: float
    resolver: str = ""
    shaping: str = ""

    @property
    def emulator_url(self) -> str:
        """The AWS endpoint."""
        return f"http://{HOST}:{self.emulator_port}"

    @property
    def api_url(self) -> str:
        """The API's base URL."""
        return f"http://{HOST}:{self.http_port}/webapi/v0/"

    @property
    def invoke_url(self) -> str:
        """The endpoint of Lambda, for what the egress calls."""
        return f"http://{HOST}:{self.invoke_port}"

    @property
    def receiver_url(self) -> str:
        """The webhook that local mode sets for its account."""
        return f"http://{HOST}:{self.receiver_port}/webhook"

    @property
    def ports(self) -> dict[str, int]:
        """Every port by the name of the variable that sets it."""
        return {
            "HTTP_PORT": self.http_port,
            "SMTP_PORT": self.smtp_port,
            "SUBMISSION_PORT": self.submission_port,
            "SUBMISSIONS_PORT": self.submissions_port,
            "EGRESS_PORT": self.egress_port,
            "RECEIVER_PORT": self.receiver_port,
            "SINK_PORT": self.sink_port,
            "EMULATOR_PORT": self.emulator_port,
            "INVOKE_PORT": self.invoke_port,
        }


def from_environment(environ: Mapping[str, str], root: Path) -> LocalSettings:
    """Read the settings; raises ValueError with a sentence when one cannot be understood."""
    return LocalSettings(
        root=root,
        state=Path(environ.get("STATE", str(root / ".egret"))),
        http_port=port_of(environ, "HTTP_PORT", 1080),
        smtp_port=port_of(environ, "SMTP_PORT", 1025),
        submission_port=port_of(environ, "SUBMISSION_PORT", 1587),
        submissions_port=port_of(environ, "SUBMISSIONS_PORT", 1465),
        egress_port=port_of(environ, "EGRESS_PORT", 1081),
        receiver_port=port_of(environ, "RECEIVER_PORT", 1082),
        sink_port=port_of(environ, "SINK_PORT", 1026),
        emulator_port=port_of(environ, "EMULATOR_PORT", 1083),
        invoke_port=port_of(environ, "INVOKE_PORT", 1084),
        real=_is_real(environ.get("DELIVER", "")),
        fresh=environ.get("FRESH", "") not in ("", "0"),
        retry_base_s=_number(environ, "RETRY_BASE_S", 5.0),
        sweep_s=_number(environ, "SWEEP_S", 1.0),
        resolver=_either(environ, "RESOLVER", "EGRET_RESOLVER"),
        shaping=_either(environ, "SHAPING", "EGRET_SHAPING"),
    )


def _either(environ: Mapping[str, str], name: str, deployed: str) -> str:
    """Return a variable by its name here, or by that which it has where Egret is deployed."""
    return environ.get(name, "") or environ.get(deployed, "")


def _is_real(deliver: str) -> bool:
    if deliver not in ("", "sink", "real"):
        message = f'DELIVER must be "real" (to the mail servers of the world) or "sink" (nobody else), not {deliver!r}'
        raise ValueError(message)
    return deliver == "real"


def port_of(environ: Mapping[str, str], name: str, default: int) -> int:
    """Return the port that a variable names; raises ValueError with a sentence when it names none."""
    text = environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        message = f"{name}={text!r} is no port: give a number from 1 to 65535"
        raise ValueError(message)
    return int(text)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        message = f"{name}={text!r} is no number of seconds"
        raise ValueError(message)
    return value
