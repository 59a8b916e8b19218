"""Make on a moto server what the send function needs under `sam local start-api`: docs/sam-local.md.

The names are those of docs/sam-local.json. The account is the one of local mode.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3

from egret.aws.app import App
from egret_local import resources
from egret_local.seed import KEY, LOGIN, seed
from egret_local.settings import REGION
from egret_local.stack import ACCOUNT_ID, Names, read_stack
from tests.template import ROOT

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

ENVIRONMENT = ROOT / "docs" / "sam-local.json"
MOTO_ACCOUNT_ID = "123456789012"
KEY_ALIAS = "alias/egret"
WEBHOOK = "http://127.0.0.1:1090/webhook"
"""Nobody calls it: `sam local start-api` runs the API only."""


def environment(endpoint_url: str) -> dict[str, str]:
    """Return the variables of docs/sam-local.json as they are for a process on this machine."""
    given: dict[str, str] = json.loads(ENVIRONMENT.read_text())["SendFunction"]
    inside = given["AWS_ENDPOINT_URL"]
    return {name: value.replace(inside, endpoint_url) for name, value in given.items()} | resources.CREDENTIALS


def make(endpoint_url: str) -> App:
    """Make the resources and the account; what exists already stays as it is. Returns the installation."""
    names = Names(endpoint_url, REGION, lambda _: "unused")
    stack = read_stack((ROOT / "template.yaml").read_text(), {"Hostname": "mx.example.com"}, names)
    resources.make(replace(stack, queues=_in_moto(stack.queues), buckets=_in_moto(stack.buckets)), names)
    arguments: dict[str, Any] = {"endpoint_url": endpoint_url, "region_name": REGION}
    kms: KMSClient = boto3.client("kms", **arguments, aws_access_key_id="local", aws_secret_access_key="local")
    if KEY_ALIAS not in {alias["AliasName"] for alias in kms.list_aliases()["Aliases"]}:
        kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    found = environment(endpoint_url)
    seed(found, WEBHOOK)
    return App.from_environment(found)


def _in_moto(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties whose ARNs name moto's account instead of local mode's."""
    renamed: dict[str, Any] = json.loads(json.dumps(dict(properties)).replace(ACCOUNT_ID, MOTO_ACCOUNT_ID))
    return renamed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--endpoint-url", default="http://127.0.0.1:5000")
    make(parser.parse_args().endpoint_url)
    print(f"ready: account {LOGIN}, API key {KEY}")
