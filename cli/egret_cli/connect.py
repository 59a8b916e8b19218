"""Find the installation: a CloudFormation stack, or local mode's folder. The result is the functions' environment."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from egret.core.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

RESOURCES: Final = {
    "MailTable": "EGRET_MAIL_TABLE",
    "SettingsTable": "EGRET_SETTINGS_TABLE",
    "Bucket": "EGRET_BUCKET",
    "HintQueue": "EGRET_HINT_QUEUE_URL",
    "CallQueue": "EGRET_CALL_QUEUE_URL",
    "DkimKey": "EGRET_KMS_KEY_ID",
}
"""Logical ids of template.yaml whose physical id is the value of a variable. No secret is read: none is needed."""

PARAMETERS: Final = {"Hostname": "EGRET_HOSTNAME"}
INHERITED: Final = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
LOCAL_FILE: Final = "environment.json"


def environment(selected: Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the installation that the options select.

    Raises InvalidRequest when there is none of that name, Unavailable when AWS does not answer.
    """
    if selected.local:
        return local_environment(Path(selected.state))
    inherited = {name: environ[name] for name in INHERITED if name in environ}
    if selected.profile:
        inherited = {name: value for name, value in inherited.items() if name == "AWS_ENDPOINT_URL"}
        inherited["AWS_PROFILE"] = selected.profile
    try:
        session = boto3.Session(profile_name=selected.profile or None, region_name=selected.region or None)
        client = session.client("cloudformation")
        found = stack_environment(client, selected.stack)
    except ClientError as error:
        raise _about(error, selected.stack) from error
    except NoRegionError as error:
        raise InvalidRequest(
            "user", "Which region the stack is in is not said: give --region, or set AWS_DEFAULT_REGION."
        ) from error
    except BotoCoreError as error:
        raise InvalidRequest("user", f"AWS cannot be asked for the stack: {error}") from error
    return {**inherited, **found, "AWS_REGION": client.meta.region_name}


def local_environment(state: Path) -> dict[str, str]:
    """Return the environment of local mode. Raises InvalidRequest when it does not run with this state."""
    path = state / LOCAL_FILE
    try:
        found: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            "user", f"{path} cannot be read: start `make serve`, or name the folder of its state with --state."
        ) from error
    return found


def stack_environment(client: CloudFormationClient, stack: str) -> dict[str, str]:
    """Return what the functions of a stack have in their environment, as far as the commands need it."""
    found: dict[str, str] = {}
    for page in client.get_paginator("list_stack_resources").paginate(StackName=stack):
        for resource in page["StackResourceSummaries"]:
            name = RESOURCES.get(resource["LogicalResourceId"])
            if name:
                found[name] = resource["PhysicalResourceId"]
    for parameter in client.describe_stacks(StackName=stack)["Stacks"][0].get("Parameters", []):
        name = PARAMETERS.get(parameter["ParameterKey"])
        if name:
            found[name] = parameter["ParameterValue"]
    missing = sorted({*RESOURCES.values(), *PARAMETERS.values()} - found.keys())
    if missing:
        raise InvalidRequest("user", f"The stack {stack!r} is no installation of Egret: it has no {missing[0]}.")
    return found


def _about(error: ClientError, stack: str) -> InvalidRequest | Unavailable:
    code = error.response["Error"].get("Code", "")
    sentence = error.response["Error"].get("Message", "")
    if code == "ValidationError":
        return InvalidRequest("user", f"There is no stack named {stack!r} in this account and region.")
    return Unavailable(f"AWS does not tell about the stack {stack!r}: {sentence or code}")
