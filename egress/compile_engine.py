"""Compile the engine's busy modules with mypyc: `python egress/compile_engine.py FOLDER`.

FOLDER gets `egret` and `egret_egress` as they are, and beside each busy module what it compiles to, which Python then
prefers. Needs mypy, setuptools and a C compiler; run it with the interpreter and the libraries that will run the unit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from mypyc.build import mypycify
from setuptools import setup

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = {"egret": ROOT / "layers" / "common" / "egret", "egret_egress": ROOT / "egress" / "egret_egress"}
CORE: Final = ("aws/clock", "core/lifecycle", "core/retry", "usecases/change", "usecases/record_outcome")
ENGINE: Final = (
    "attempt", "backlog", "burst", "connection", "content", "contents", "courier", "course", "endings", "engine",
    "errands", "exchange", "following", "handoff", "holdings", "idle", "journal", "ledger", "line", "log_lines",
    "observing", "pacing", "parcel", "pool", "prometheus", "recorder", "remembered", "session", "telling", "turns",
    "visit", "wire",
)  # fmt: skip
"""What runs for every message. None of them defines a class of msgspec's: mypyc would strip it of its options."""
SETTINGS: Final = """
[mypy]
python_version = {version}
namespace_packages = true
explicit_package_bases = true
ignore_missing_imports = true
follow_imports = silent
"""


def lay(folder: Path) -> None:
    """Put fresh copies of the packages there."""
    for name, source in PACKAGES.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for old in folder.glob("*__mypyc.*"):
        old.unlink()


def build(folder: Path) -> None:
    """Compile, in the folder."""
    os.chdir(folder)
    settings = Path("mypy.ini")
    settings.write_text(SETTINGS.format(version=f"{sys.version_info.major}.{sys.version_info.minor}"))
    busy = [f"egret/{name}.py" for name in CORE] + [f"egret_egress/{name}.py" for name in ENGINE]
    modules = mypycify(["--config-file", str(settings), *busy], opt_level="3", debug_level="1")
    setup(
        name="egret-egress",
        packages=[],
        ext_modules=modules,
        script_args=["--quiet", "build_ext", "--inplace", "--build-temp", "build", "--build-lib", "build"],
    )
    for left in ("build", ".mypy_cache"):
        shutil.rmtree(left, ignore_errors=True)
    settings.unlink()


def main() -> int:
    """Do both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    lay(folder)
    build(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
