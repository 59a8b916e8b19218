"""What is compiled can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compile_engine import CORE, ENGINE, PACKAGES

MODULES = [PACKAGES["egret"] / f"{name}.py" for name in CORE] + [
    PACKAGES["egret_egress"] / f"{name}.py" for name in ENGINE
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_compiled_module_defines_a_struct(path: Path) -> None:
    """Compiled, it would lose its options, `frozen` among them."""
    assert not re.search(r"^class .*\bStruct\b", path.read_text(), re.MULTILINE)
