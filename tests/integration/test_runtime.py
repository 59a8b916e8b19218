"""What `sam build` packs, run as Lambda runs it: the built layer and function, the real runtime client, a Runtime API.

Built by the same makefiles, for the interpreter and the machine at hand.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from egret.aws.app import App
from egret.contracts.settings import ApiKey
from egret.core.apikey import key_hash
from tests.api_service import event
from tests.aws_events import event_file, failed, sqs_event
from tests.aws_resources import create_resources
from tests.runtime_api import sandbox
from tests.template import ROOT, resource, variables
from tests.unit.builders import ACCOUNT
from tests.unit.sending import LOGIN, a_domain, an_account

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client is for Linux"),
]

KEY = "egretegret"
CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
"""Packages of Lambda's own runtime client."""
MAX_LAYER_MB = 250
FUNCTIONS = {
    "DeliverFunction": sqs_event("poison"),
    "SweepFunction": event_file("schedule"),
    "WebhookStreamFunction": {"Records": event_file("dynamodb_stream")["Records"][:1]},
    "WebhookCallsFunction": sqs_event("poison"),
    "DsnIngestFunction": sqs_event("poison"),
    "ReportsFunction": event_file("schedule"),
}


def make(folder: str, target: str, artifacts: Path, **given: str) -> None:
    """Run a makefile of the build, as sam does."""
    artifacts.mkdir(parents=True)
    arguments = [f"{name}={value}" for name, value in {"ARTIFACTS_DIR": str(artifacts), **given}.items()]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "-C", str(ROOT / folder), target, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer, for this interpreter on this machine."""
    artifacts = tmp_path_factory.mktemp("layer") / "CommonLayer"
    make(
        "layers/common",
        "build-CommonLayer",
        artifacts,
        UV=str(Path(sys.executable).parent / "uv"),
        EGRET_ARCHITECTURE={"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        PYTHON_VERSION=f"{sys.version_info.major}.{sys.version_info.minor}",
    )
    return artifacts / "python"


@pytest.fixture(scope="module")
def runtime_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Lambda's runtime client and nothing else of this environment."""
    folder = tmp_path_factory.mktemp("client")
    for name in CLIENT:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        origin = origin.parent if spec.submodule_search_locations else origin
        (folder / origin.name).symlink_to(origin)
    return folder


def built(name: str, folder: Path) -> Path:
    """Build a function and return its folder."""
    make(resource(name)["CodeUri"], f"build-{name}", folder / name)
    return folder / name


def environment_of(name: str, endpoint_url: str) -> dict[str, str]:
    """Return the variables that the template gives a function, with values of a fresh installation."""
    known = create_resources(endpoint_url).environment(endpoint_url)
    aws = {variable: value for variable, value in known.items() if variable.startswith("AWS_")}
    given = {variable: known.get(variable, "") for variable in variables(name)}
    return aws | given | {"POWERTOOLS_SERVICE_NAME": name, "POWERTOOLS_METRICS_NAMESPACE": "Egret/test"}


def send_event(headers: dict[str, str]) -> dict[str, Any]:
    """Return the event of a Send."""
    request = json.dumps({"To": [{"Address": "ann@example.net"}], "Subject": "Hello", "Text": "Good morning.\n"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return event("POST", "/webapi/v0/Send", f"request={request}".encode(), form | headers)


def body_of(answer: dict[str, Any]) -> str:
    """Return the text of an answer to API Gateway."""
    text = str(answer["body"])
    return base64.b64decode(text).decode() if answer.get("isBase64Encoded") else text


def test_the_built_send_function_answers_as_lambda_runs_it(
    layer: Path, runtime_client: Path, moto_endpoint: str, tmp_path: Path
) -> None:
    """A cold start, a login that is missing, a message that is accepted, and every line of its log is JSON."""
    environment = environment_of("SendFunction", moto_endpoint)
    operator = App.from_environment(environment)
    operator.settings_writer.put_account(an_account())
    operator.settings_writer.put_key(ApiKey(hash=key_hash(KEY), account=ACCOUNT, login=LOGIN))
    operator.settings_writer.put_domain(a_domain(dkim_keys=()))
    task = built("SendFunction", tmp_path)
    with sandbox(task, resource("SendFunction")["Handler"], [layer, runtime_client], environment) as api:
        refused = api.invoke(send_event({}))
        accepted = api.invoke(send_event({"Authorization": f"Bearer {KEY}"}))

    assert refused["statusCode"] == 401
    assert "basic" in {name.lower(): value for name, value in refused["headers"].items()}["www-authenticate"].lower()
    assert accepted["statusCode"] == 200, body_of(accepted)
    (submission,) = json.loads(body_of(accepted))["Submissions"]
    assert submission["Address"] == "ann@example.net"
    lines = [json.loads(line) for line in (tmp_path / "SendFunction.log").read_text().splitlines()]
    assert [line["status"] for line in lines if line.get("message") == "request"] == [401, 200]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_built_function_starts_and_answers(
    name: str, layer: Path, runtime_client: Path, moto_endpoint: str, tmp_path: Path
) -> None:
    """With the layer's packages and the template's variables alone: nothing that it imports or reads is missing."""
    environment = environment_of(name, moto_endpoint)
    task = built(name, tmp_path)
    with sandbox(task, resource(name)["Handler"], [layer, runtime_client], environment) as api:
        answer = api.invoke(FUNCTIONS[name])

    if name in ("SweepFunction", "ReportsFunction"):
        assert answer is None
    else:
        assert failed(answer) == ([] if name == "WebhookStreamFunction" else ["m0"])
    lines = [json.loads(line) for line in (tmp_path / f"{name}.log").read_text().splitlines()]
    tallies = [line for line in lines if line.get("level") == "INFO" and "service" in line]
    assert [line["invocation"] for line in tallies] == ["00000000-0000-4000-8000-000000000001"]


def test_the_layer_stays_within_lambdas_limit(layer: Path) -> None:
    """250 MB unzipped, for function and layers together."""
    size_bytes = sum(path.stat().st_size for path in layer.rglob("*") if path.is_file())

    assert size_bytes < MAX_LAYER_MB * 1024 * 1024
