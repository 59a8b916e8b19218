"""A custom resource of the stack: have CodeBuild make the egress image from the source in this function's artifact.

The stack waits for the answer that is PUT to its address, so there is one whatever happens: success with the name of
the image, or failure with the reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from aws_lambda_powertools import Logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SOURCE: Final = Path(__file__).parent / "source"
POLL_S: Final = 10.0
"""A build takes two to four minutes."""
MARGIN_S: Final = 30.0
"""Time kept for the answer before Lambda ends the function."""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Of every file in the archive, so that the same source gives the same archive; zip knows no earlier date."""

_logger = Logger(service="build-image")


class BuildFailed(Exception):
    """The reason is for the person who deploys."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Where images are built and kept: clients, and names. repository: its URI. sleep, monotonic: as in `time`."""

    codebuild: Any
    ecr: Any
    s3: S3Client
    bucket: str
    project: str
    repository: str
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


def handle(event: Mapping[str, Any], context: Any) -> None:
    """Build the image that a Create or an Update asks for, and answer the stack."""
    answer = answer_to(_builder(), event, context.get_remaining_time_in_millis() / 1000 - MARGIN_S, SOURCE)
    _logger.info("build", extra={"status": answer["Status"], "reason": answer["Reason"], "image": answer["Data"]})
    send(event["ResponseURL"], answer)


@cache
def _builder() -> Builder:
    environ = os.environ
    return Builder(
        boto3.client("codebuild"),
        boto3.client("ecr"),
        boto3.client("s3"),
        environ["EGRET_BUCKET"],
        environ["EGRET_BUILD_PROJECT"],
        environ["EGRET_BUILD_REPOSITORY"],
    )


def answer_to(builder: Builder, event: Mapping[str, Any], patience_s: float, source: Path) -> dict[str, Any]:
    """Do what the event asks for; return CloudFormation's response object, whatever happens."""
    answer: dict[str, Any] = {
        "Status": "SUCCESS",
        "Reason": "",
        "PhysicalResourceId": event.get("PhysicalResourceId", "egress-image"),
        "Data": {},
    }
    answer |= {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    if event["RequestType"] == "Delete":
        return answer  # the images go with their repository
    try:
        architecture = str(event["ResourceProperties"]["Architecture"])
        image = build(builder, archive_of(source), architecture, patience_s)
    except Exception as error:
        _logger.exception("no image")
        return answer | {"Status": "FAILED", "Reason": f"The egress image was not built: {error}"}
    return answer | {"Data": {"Image": image}}


def archive_of(source: Path) -> bytes:
    """Return a folder as a ZIP archive, the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(source).as_posix(), EPOCH)
                entry.external_attr = 0o755 << 16
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def build(builder: Builder, archive: bytes, architecture: str, patience_s: float) -> str:
    """Return the name of the image of this source, built unless the repository has it. Raises BuildFailed."""
    tag = f"{architecture}-{hashlib.sha256(archive).hexdigest()[:32]}"
    image = f"{builder.repository}:{tag}"
    if _exists(builder, tag):
        return image
    key = f"builds/{tag}.zip"
    builder.s3.put_object(Bucket=builder.bucket, Key=key, Body=archive)
    started = builder.codebuild.start_build(
        projectName=builder.project,
        sourceLocationOverride=f"{builder.bucket}/{key}",
        environmentVariablesOverride=[{"name": "TAG", "value": tag}],
    )
    _wait(builder, started["build"]["id"], patience_s)
    return image


def _exists(builder: Builder, tag: str) -> bool:
    name = builder.repository.partition("/")[2]
    try:
        builder.ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
    except builder.ecr.exceptions.ImageNotFoundException:
        return False
    return True


def _wait(builder: Builder, build_id: str, patience_s: float) -> None:
    until = builder.monotonic() + patience_s
    while True:
        (found,) = builder.codebuild.batch_get_builds(ids=[build_id])["builds"]
        if found["buildStatus"] == "SUCCEEDED":
            return
        if found["buildStatus"] != "IN_PROGRESS":
            raise BuildFailed(
                f"CodeBuild says {found['buildStatus']}: {found.get('logs', {}).get('deepLink', build_id)}"
            )
        if builder.monotonic() + POLL_S > until:
            raise BuildFailed(f"CodeBuild is not done in time: {build_id}")
        builder.sleep(POLL_S)


def send(url: str, answer: Mapping[str, Any]) -> None:
    """PUT the answer to where the stack waits for it: a presigned URL, which allows no content type."""
    if not url.startswith("https://"):
        raise ValueError("the stack waits at an https URL")
    request = urllib.request.Request(  # noqa: S310 - looked at above
        url, data=json.dumps(answer).encode(), headers={"Content-Type": ""}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - looked at above
        response.read()
