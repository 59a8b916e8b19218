"""The command line on a stack of CloudFormation, and on what local mode leaves in its folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from egret.aws.app import App
from egret_cli.__main__ import connect_to, run
from egret_cli.connect import LOCAL_FILE, RESOURCES, stack_environment
from egret_local.settings import from_environment
from egret_local.stack import _Loader
from egret_local.supervisor import _write_environment
from tests.aws_resources import create_resources
from tests.emulators import ACCESS_KEY, REGION, SECRET_KEY, client_arguments

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

ROOT = Path(__file__).parent.parent.parent
PROPERTIES = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes", "Description", "KeyPolicy")


def _template() -> dict[str, Any]:
    """Return template.yaml, reduced to the resources that the command line looks for."""
    import yaml  # noqa: PLC0415 (the only test that reads YAML)

    whole = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    resources: dict[str, Any] = {}
    for name in RESOURCES:
        resource = whole["Resources"][name]
        given = resource.get("Properties", {})
        kept = {key: given[key] for key in PROPERTIES if key in given}
        resources[name] = {"Type": resource["Type"], "Properties": kept}
    hostname = {"Type": whole["Parameters"]["Hostname"]["Type"]}
    return {"Parameters": {"Hostname": hostname}, "Resources": resources}


@pytest.fixture
def cloudformation(moto_endpoint: str) -> Iterator[CloudFormationClient]:
    """A client of moto's CloudFormation."""
    client = boto3.client("cloudformation", **client_arguments(moto_endpoint))
    yield client
    client.close()


@pytest.fixture
def stack(cloudformation: CloudFormationClient) -> str:
    """The name of a stack with the resources of template.yaml."""
    name = f"egret-{secrets.token_hex(4)}"
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(_template()),
        Parameters=[{"ParameterKey": "Hostname", "ParameterValue": "mx.example.com"}],
    )
    return name


def _egret(endpoint: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m egret_cli` as an operator does, with credentials in the environment."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("layers/common", "cli")),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "egret_cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.emulator
def test_an_operator_sets_up_an_account_on_a_deployed_stack(moto_endpoint: str, stack: str) -> None:
    """Account, domain, key and webhook; the functions' own view of the settings has them."""
    on_stack = ("--stack", stack, "--region", REGION)
    steps = [
        ("account", "create", "acme", "--address", "app@example.com"),
        ("domain", "add", "acme", "example.com"),
        ("key", "create", "acme"),
        ("webhook", "set", "acme", "https://hooks.example.com/"),
        ("delivery", "list", "acme"),
        ("unit", "list"),
    ]
    done = [_egret(moto_endpoint, *on_stack, *step) for step in steps]

    assert [(step.returncode, step.stderr) for step in done] == [(0, "")] * len(steps)
    assert "bounces.example.com. MX 10 mx.example.com." in done[1].stdout
    assert done[2].stdout.startswith("eg_")
    assert "whsec_" in done[3].stdout
    shown = json.loads(_egret(moto_endpoint, *on_stack, "account", "show", "acme", "--json").stdout)
    assert (shown["addresses"], shown["webhook"]["url"]) == (["app@example.com"], "https://hooks.example.com/")


@pytest.mark.emulator
def test_the_stack_gives_every_variable_that_the_commands_need(
    moto_endpoint: str, stack: str, cloudformation: CloudFormationClient
) -> None:
    """Ports that read and write can be made of it; no secret is among them."""
    found = stack_environment(cloudformation, stack)
    app = App.from_environment({**found, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": moto_endpoint})

    assert set(found) == {*RESOURCES.values(), "EGRET_HOSTNAME"}
    assert app.installation.hostname == "mx.example.com"


@pytest.mark.emulator
def test_a_profile_brings_its_own_region_and_credentials(moto_endpoint: str, stack: str, tmp_path: Path) -> None:
    """It is used for the stack and for the tables, before whatever credentials the environment has."""
    profile = f"[profile ops]\nregion = {REGION}\naws_access_key_id = ops\naws_secret_access_key = ops\n"
    (tmp_path / "config").write_text(profile)
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = _egret(moto_endpoint, "--stack", stack, "--profile", "ops", "account", "create", "of-a-profile", **files)

    assert (done.returncode, done.stderr) == (0, "")
    assert "of-a-profile" in _egret(moto_endpoint, "--stack", stack, "--region", REGION, "account", "list").stdout


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--stack", "nothing-there", "--region", REGION), "There is no stack named 'nothing-there'"),
        (("--stack", "x"), "give --region, or set AWS_DEFAULT_REGION."),
        (
            ("--stack", "x", "--profile", "no-such", "--region", REGION),
            "The config profile (no-such) could not be found",
        ),
        (("--local", "--state", "no-such-folder"), "start `make serve`"),
    ],
)
def test_an_installation_that_cannot_be_found_is_one_sentence(
    moto_endpoint: str, words: tuple[str, ...], sentence: str
) -> None:
    """Exit 1, no traceback."""
    ended = _egret(moto_endpoint, *words, "account", "list")

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert sentence in ended.stderr


@pytest.mark.emulator
def test_local_mode_leaves_its_environment_to_its_owner(moto_endpoint: str, tmp_path: Path) -> None:
    """What the supervisor writes is enough for the command line; where files have modes, nobody else may read it."""
    settings = from_environment({"STATE": str(tmp_path)}, ROOT)
    common = {**create_resources(moto_endpoint).environment(moto_endpoint), "EGRET_HOSTNAME": "localhost"}
    for variables in ({"EGRET_HOSTNAME": "of an earlier run"}, common):
        _write_environment(settings, variables)
    written = tmp_path / LOCAL_FILE

    assert json.loads(written.read_text()) == common
    if sys.platform != "win32":
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run(["--local", "--state", str(tmp_path), "account", "create", "a"], connect_to({})) == 0
    assert printed.getvalue().startswith("id")
