"""What the pinned requirements promise to whoever installs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "requirements"
LOCKS = sorted(path.name for path in FOLDER.glob("*.txt"))
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def _pins(lock: str) -> set[tuple[str, str]]:
    """The (name, version) pairs of a lock file."""
    found = map(PIN.match, (FOLDER / lock).read_text().splitlines())
    return {(pin["name"], pin["version"]) for pin in found if pin}


def _wanted(name: str) -> set[str]:
    """The packages that an .in file and those it includes ask for."""
    wanted: set[str] = set()
    for line in (FOLDER / name).read_text().splitlines():
        if line.startswith("-r "):
            wanted |= _wanted(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            wanted.add(re.split(r"[\[;= ]", line.lower(), maxsplit=1)[0])
    return wanted


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_pins_and_hashes_and_nothing_else(lock: str) -> None:
    """No registry's host, no path of a machine, no package without a hash: only pins, each followed by hashes."""
    lines = (FOLDER / lock).read_text().splitlines()
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    unhashed = [pin for pin, after in zip(lines, [*lines[1:], ""], strict=True) if PIN.match(pin) and PIN.match(after)]
    assert unhashed == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_pins_everything_that_is_asked_for(lock: str) -> None:
    """A package added to an .in file is in its .txt: `make lock` was run."""
    assert {name.replace(".", "-") for name in _wanted(lock.replace(".txt", ".in"))} <= {
        name for name, _ in _pins(lock)
    }


@pytest.mark.parametrize(
    ("smaller", "larger"), [("runtime.txt", "egress.txt"), ("egress.txt", "dev.txt"), ("compile.txt", "dev.txt")]
)
def test_what_is_deployed_is_what_is_tested(smaller: str, larger: str) -> None:
    """The layer, the container and the tests use the same versions."""
    assert _pins(smaller) <= _pins(larger)


def test_the_emulator_has_what_it_warns_of() -> None:
    """In the version that is installed beside it anyway, so that nothing more is downloaded."""
    ours = {(name, version) for name, version in _pins("runtime.txt") if name == "cryptography"}

    assert ours
    assert ours <= _pins("emulator.txt")
