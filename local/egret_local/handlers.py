"""Load the functions' handlers as the Lambda runtime does: a file, an entry, an environment."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Handler = Callable[[Mapping[str, Any], object], Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may ask of its invocation."""

    function_name: str
    timeout_s: int
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:local:000000000000:function:local"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left; local mode does not cut invocations short."""
        return self.timeout_s * 1000


def load(root: Path, folder: str, entry: str) -> Handler:
    """Return the entry of `<folder>/handler.py` below the checkout. Raises FileNotFoundError, AttributeError."""
    path = root / folder / "handler.py"
    spec = importlib.util.spec_from_file_location(f"egret_function_{Path(folder).name}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = getattr(module, entry)
    return handler
