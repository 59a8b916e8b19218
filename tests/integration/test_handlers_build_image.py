"""The custom resource that has the egress image built: what it asks of AWS, and that it always answers the stack."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from functions.build_image.handler import POLL_S, Builder, answer_to, archive_of, send
from tests.aws_events import event_file
from tests.emulators import client_arguments
from tests.template import ROOT

pytestmark = pytest.mark.emulator


@dataclass
class CodeBuild:
    """Plays CodeBuild: a build has these states, one per look."""

    states: list[str]
    started: list[dict[str, Any]] = field(default_factory=list)

    def start_build(self, **arguments: Any) -> Any:
        """Start."""
        self.started.append(arguments)
        return {"build": {"id": "egret:1"}}

    def batch_get_builds(self, ids: list[str]) -> Any:
        """Tell the next state."""
        assert ids == ["egret:1"]
        return {"builds": [{"buildStatus": self.states.pop(0), "logs": {"deepLink": "https://console/log"}}]}


@dataclass
class Time:
    """Goes on while one sleeps."""

    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        """Go on."""
        self.now += seconds

    def monotonic(self) -> float:
        """Tell."""
        return self.now


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of an image."""
    (tmp_path / "egress").mkdir()
    (tmp_path / "egress" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "egress" / "entrypoint.sh").write_text("#!/bin/sh\n")
    return tmp_path


@pytest.fixture
def builder(moto_endpoint: str) -> Builder:
    """Bucket and repository on an emulator, a CodeBuild that takes two looks."""
    arguments = client_arguments(moto_endpoint)
    name = f"egret-{secrets.token_hex(4)}"
    s3, ecr = boto3.client("s3", **arguments), boto3.client("ecr", **arguments)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    uri = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]
    time = Time()
    codebuild = CodeBuild(["IN_PROGRESS", "SUCCEEDED"])
    return Builder(codebuild, ecr, s3, name, "project", uri, time.sleep, time.monotonic)


def test_an_image_is_built_from_the_uploaded_source(builder: Builder, source: Path) -> None:
    """CodeBuild is given the archive and the tag that names its content."""
    answer = answer_to(builder, event_file("custom_resource_create"), 600, source)
    image = answer["Data"]["Image"]
    (started,) = builder.codebuild.started
    key = started["sourceLocationOverride"].partition("/")[2]
    archive = zipfile.ZipFile(io.BytesIO(builder.s3.get_object(Bucket=builder.bucket, Key=key)["Body"].read()))

    assert answer["Status"] == "SUCCESS"
    assert image.startswith(f"{builder.repository}:arm64-")
    assert started["environmentVariablesOverride"] == [{"name": "TAG", "value": image.rpartition(":")[2]}]
    assert archive.namelist() == ["egress/Dockerfile", "egress/entrypoint.sh"]


def test_the_answer_names_what_it_answers(builder: Builder, source: Path) -> None:
    """CloudFormation takes no other."""
    event = event_file("custom_resource_create")
    answer = answer_to(builder, event, 600, source)

    assert {name: answer[name] for name in ("StackId", "RequestId", "LogicalResourceId")} == {
        name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")
    }
    assert answer["PhysicalResourceId"] == "egress-image"


def test_an_image_that_is_there_is_not_built_again(builder: Builder, source: Path) -> None:
    """A repeated request finds it by its tag; another source is another tag."""
    image = answer_to(builder, event_file("custom_resource_create"), 600, source)["Data"]["Image"]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"})
    builder.ecr.put_image(repositoryName=builder.bucket, imageManifest=manifest, imageTag=image.rpartition(":")[2])
    again = answer_to(builder, event_file("custom_resource_create"), 600, source)

    assert (again["Data"]["Image"], len(builder.codebuild.started)) == (image, 1)
    (source / "egress" / "Dockerfile").write_text("FROM busybox\n")
    builder.codebuild.states += ["SUCCEEDED"]
    assert answer_to(builder, event_file("custom_resource_create"), 600, source)["Data"]["Image"] != image


@pytest.mark.parametrize("state", ["FAILED", "FAULT", "STOPPED", "TIMED_OUT"])
def test_a_failed_build_fails_the_stack_with_its_reason(builder: Builder, source: Path, state: str) -> None:
    """And says where to look."""
    builder.codebuild.states[1] = state
    answer = answer_to(builder, event_file("custom_resource_create"), 600, source)

    assert answer["Status"] == "FAILED"
    assert f"{state}: https://console/log" in answer["Reason"]


def test_a_build_that_takes_too_long_is_given_up_in_time_to_say_so(builder: Builder, source: Path) -> None:
    """Before Lambda ends the function, and the stack waits an hour for nothing."""
    builder.codebuild.states = ["IN_PROGRESS"] * 100
    answer = answer_to(builder, event_file("custom_resource_create"), 5 * POLL_S, source)

    assert (answer["Status"], builder.monotonic()) == ("FAILED", 5 * POLL_S)


def test_trouble_of_any_kind_is_answered(builder: Builder, source: Path) -> None:
    """Here the bucket is missing."""
    answer = answer_to(replace(builder, bucket="gone-gone-gone"), event_file("custom_resource_create"), 600, source)

    assert (answer["Status"], "NoSuchBucket" in answer["Reason"]) == ("FAILED", True)


def test_nothing_is_built_when_the_stack_goes(builder: Builder, source: Path) -> None:
    """The images go with their repository; an answer is due all the same."""
    event = event_file("custom_resource_create") | {"RequestType": "Delete", "PhysicalResourceId": "egress-image"}
    answer = answer_to(builder, event, 600, source)

    assert (answer["Status"], builder.codebuild.started) == ("SUCCESS", [])


def test_the_same_source_is_the_same_archive(source: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whenever and wherever it was packed."""
    copy = tmp_path_factory.mktemp("copy")
    for path in sorted(source.rglob("*"), reverse=True):
        if path.is_file():
            (copy / path.relative_to(source)).parent.mkdir(exist_ok=True)
            (copy / path.relative_to(source)).write_bytes(path.read_bytes())

    assert archive_of(copy) == archive_of(source)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/answer", "file:///etc/passwd", ""])
def test_only_https_is_answered(url: str) -> None:
    """The address comes with the event; CloudFormation's are https."""
    with pytest.raises(ValueError, match="https"):
        send(url, {"Status": "SUCCESS"})


def test_the_artifact_has_everything_that_the_dockerfile_copies(tmp_path: Path) -> None:
    """The build in CodeBuild has nothing else."""
    subprocess.run(
        [
            "make",
            "-s",
            "-C",
            str(ROOT / "functions/build_image"),
            "build-BuildImageFunction",
            f"ARTIFACTS_DIR={tmp_path}",
        ],
        check=True,
    )
    dockerfile = (ROOT / "egress/Dockerfile").read_text().splitlines()
    copied = [
        name for line in dockerfile if line.startswith("COPY ") and "--from=" not in line for name in line.split()[1:-1]
    ]

    assert len(copied) == 8
    assert [name for name in copied if not (tmp_path / "source" / name).exists()] == []
    assert list((tmp_path / "source").rglob("__pycache__")) == []
