"""`make deploy` asks once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.template import ROOT

EMPTY = '[default.deploy.parameters]\nstack_name = "egret"\n'
ANSWERED = EMPTY + 'parameter_overrides = "Hostname=\\"mx.example.com\\""\n'
OF_AN_OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "GUIDED")


def commands(folder: Path, *words: str) -> list[str]:
    """Return the words of what `make deploy` would run after the build, with the samconfig.toml of a folder."""
    make = ["make", "--dry-run", "--assume-old=build", f"--file={ROOT / 'Makefile'}", "deploy", *words]
    environ = {name: value for name, value in os.environ.items() if name not in OF_AN_OUTER_MAKE}
    return subprocess.run(make, cwd=folder, env=environ, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    ("config", "words", "told"),
    [
        pytest.param(EMPTY, (), ["--guided"], id="first"),
        pytest.param(EMPTY + "[default.global.parameters]\nparameter_overrides = 1\n", (), ["--guided"], id="section"),
        pytest.param(ANSWERED.replace("default", "prod"), (), ["--guided"], id="environment"),
        pytest.param(ANSWERED + "[default.global.parameters]\n", (), [], id="answered"),
        pytest.param(ANSWERED, ("GUIDED=1",), ["--guided"], id="again"),
        pytest.param(EMPTY, ("ARGS=--config-env prod",), ["--config-env", "prod"], id="options"),
        pytest.param(
            EMPTY, ("ARGS=--config-env prod", "GUIDED=1"), ["--config-env", "prod", "--guided"], id="options-asked"
        ),
    ],
)
def test_a_deploy_asks_only_where_no_answers_are_saved(
    tmp_path: Path, config: str, words: tuple[str, ...], told: list[str]
) -> None:
    """Those of the environment that is deployed; GUIDED=1 asks again, and who gives options is not asked."""
    (tmp_path / "samconfig.toml").write_text(config)
    ran = commands(tmp_path, *words)

    assert ran[ran.index("deploy") + 1 :] == told
