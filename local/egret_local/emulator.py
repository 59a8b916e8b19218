"""The AWS emulator as a process: where it lies, how it is started. It saves its state only at a graceful stop."""

from __future__ import annotations

import sys
from pathlib import Path

from egret_local.resources import CREDENTIALS
from egret_local.settings import HOST, REGION, LocalSettings


def command(settings: LocalSettings) -> list[str]:
    """Return the command line; the emulator has an environment of its own, since it pins what we use newer."""
    folder = settings.root / ".venv-emulator" / ("Scripts" if sys.platform == "win32" else "bin")
    return [str(folder / "python"), "-m", "ministack"]


def environment(settings: LocalSettings) -> dict[str, str]:
    """Return its variables: it listens on loopback only, and keeps its state in the folder of local mode."""
    state: Path = settings.state / "aws"
    return {
        **CREDENTIALS,  # with these it checks presigned URLs
        "BIND_HOST": HOST,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "GATEWAY_PORT": str(settings.emulator_port),
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(state / "state"),
        "S3_DATA_DIR": str(state / "s3"),
        "TMPDIR": str(state),
        "LOG_LEVEL": "WARNING",
    }
