"""What numbers may be in the file that pacing is kept in: anything else makes it unreadable, and is learned anew."""

from __future__ import annotations

from typing import Annotated

import msgspec

Moment = Annotated[float, msgspec.Meta(ge=-1e11, le=1e11)]
"""Unix seconds that are a date, too; negative after a clock was set back."""
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e8)]
PerSecond = Annotated[float, msgspec.Meta(ge=1e-9, le=1e12)]
"""A rate that can be divided by."""
PerSecondOrNone = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Few = Annotated[int, msgspec.Meta(ge=0, le=10)]
Day = Annotated[int, msgspec.Meta(ge=-1, le=10**6)]
