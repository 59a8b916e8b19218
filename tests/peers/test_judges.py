"""Others read the reports that we send: parsedmarc, which most who get reports use."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_send_reports import FAILED, OF_HOST, STS, World, an_evaluation, tell, wants

ROOT = Path(__file__).parent.parent.parent
JUDGES = ROOT / ".venv-judges" / "bin" / "python"
LIMIT_S = 60

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not JUDGES.exists(), reason="the judges' environment is not installed (make peers)"),
]


def judged(folder: Path, *mails: bytes) -> list[dict[str, Any]]:
    """Return what parsedmarc reads in each mail."""
    paths = [folder / f"{number}.eml" for number in range(len(mails))]
    for path, mail in zip(paths, mails, strict=True):
        path.write_bytes(mail)
    script = Path(__file__).parent / "report_judge.py"
    done = subprocess.run(
        [str(JUDGES), str(script), *map(str, paths)], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_dmarc_report_is_read_without_a_warning(tmp_path: Path) -> None:
    """As one of RFC 9990, with every row and every field."""
    world = World()
    world.evaluate(3)
    world.evaluate(row=an_evaluation().row.__class__("2001:db8::1", "reject", "fail", "fail", "a.example.net"))
    (queued,) = world.dmarc()
    (found,) = judged(tmp_path, queued.content)
    report, own = found["report"], queued.dmarc

    assert (found["type"], found["warnings"]) == ("aggregate", [])
    assert report["xml_namespace"] == "urn:ietf:params:xml:ns:dmarc-2.0"
    assert report["report_metadata"]["org_name"] == "egret.example"  # parsedmarc cuts names down to that
    assert report["report_metadata"]["generator"] == "egret/test"
    assert report["report_metadata"]["report_id"] == own.report_id.partition("@")[0]
    assert report["report_metadata"]["errors"] == []
    assert report["policy_published"]["domain"] == "example.net"
    records = {record["source"]["ip_address"]: record for record in report["records"]}
    assert {address: record["count"] for address, record in records.items()} == {"192.0.2.1": 3, "2001:db8::1": 1}
    assert records["192.0.2.1"]["policy_evaluated"]["disposition"] == "pass"
    assert [each["selector"] for each in records["192.0.2.1"]["auth_results"]["dkim"]] == ["s1", "k"]


def test_a_tls_report_is_read(tmp_path: Path) -> None:
    """With every policy, count and failure."""
    world = World()
    wants(world, "example.net", "mailto:tls@example.net")
    tell(
        world,
        {("example.net", "example.net", STS): FAILED, ("mx.hosting.example", "example.net", OF_HOST): FAILED},
    )
    (queued,) = world.tls()
    (found,) = judged(tmp_path, queued.content)
    report = found["report"]

    assert (found["type"], found["warnings"]) == ("smtp_tls", [])
    assert report["report_id"] == queued.tls.report_id
    assert [(each["policy_type"], each["policy_domain"]) for each in report["policies"]] == [
        ("sts", "example.net"),
        ("tlsa", "example.net"),
    ]
    assert [each["failed_session_count"] for each in report["policies"]] == [2, 2]
    failures = [detail for each in report["policies"] for detail in each["failure_details"]]
    assert [(each["result_type"], each["failed_session_count"]) for each in failures] == [
        ("certificate-expired", 2)
    ] * 2
