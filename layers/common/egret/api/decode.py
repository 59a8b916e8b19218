"""JSON text to a wire type, as Go's decoder does it, with sentences that name the field.

Keys are compared without regard to case; of several the last one counts; `null` anywhere means the zero value; unknown
keys are refused; text after the first JSON value is ignored. Strings are valid Unicode or the request is refused.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from egret.api.forms import refuse
from egret.contracts.webapi import Wire

T = TypeVar("T", bound=Wire)
JSON_NAMES: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "datetime": "an RFC 3339 time",
    "|": "or",
}
"""Types as the OpenAPI description calls them, by msgspec's names where these are Python's."""
_QUOTED: Final = re.compile(r"`([^`]*)`")
_WORD: Final = re.compile(r"\S+")
Shape = Callable[[Any], Any]
"""Rewrites decoded JSON of one type to canonical keys without nulls."""

MAX_SHOWN: Final = 60
MIN_YEAR: Final = 2
MAX_YEAR: Final = 9998
"""Years from and to which an instant can be moved into any zone."""


class _Misfit(Exception):
    """An unknown key; known: the names of the fields that there are; path: where, innermost first."""

    def __init__(self, key: str, known: tuple[str, ...]) -> None:
        self.key = key
        self.known = known
        self.path: list[str] = []
        super().__init__(key)


def decode(text: bytes, kind: type[T]) -> T:
    """Return the request that the JSON text describes. Raises InvalidRequest `protocol`."""
    value = _first_value(text)
    try:
        shaped = _shape_of(kind)({} if value is None else value)
        return msgspec.convert(shaped, kind)
    except _Misfit as misfit:
        raise refuse(_unknown(misfit)) from misfit
    except msgspec.ValidationError as error:
        raise refuse(_sentence(error)) from error


def _unknown(misfit: _Misfit) -> str:
    place = "".join(reversed(misfit.path)).lstrip(".")
    where, known = f" in {place}" if place else "", ", ".join(misfit.known) or "none"
    return f"Unknown field {misfit.key[:MAX_SHOWN]!a}{where}. The fields are: {known}."


def _sentence(error: msgspec.ValidationError) -> str:
    """Turn "Expected `str`, got `int` - at `$.To[0].Name`" into "To[0].Name: expected string, got integer."."""
    reason, _, place = str(error).partition(" - at ")
    reason = _QUOTED.sub(lambda types: _WORD.sub(lambda word: JSON_NAMES.get(word[0], word[0]), types[1]), reason)
    place = place.replace("`", "").removeprefix("$").lstrip(".")
    if "timezone component" in reason:
        reason = "Expected an RFC 3339 time with a zone"
    return f"{place}: {reason[:1].lower()}{reason[1:]}." if place else f"{reason}."


def _first_value(text: bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if "trailing characters" in str(error):
            return _without_rest(text)
        raise refuse(f"The field `request` is not JSON: {error}.") from error
    except UnicodeDecodeError as error:
        raise refuse("The field `request` is not UTF-8.") from error
    except RecursionError as error:
        raise refuse("The JSON text is nested too deeply.") from error


def _without_rest(text: bytes) -> object:
    """Decode the first value of a text that goes on behind it; where it ends is found by the standard library."""
    try:
        source = text.decode()
        start = len(source) - len(source.lstrip(" \t\r\n"))
        _, end = json.JSONDecoder().raw_decode(source, start)
        return msgspec.json.decode(source[start:end])
    except (ValueError, RecursionError) as error:
        raise refuse("The field `request` is not JSON.") from error


# --- shapes: one function for each type, made once -------------------------------------------------------------------


@lru_cache(maxsize=256)
def _shape_of(kind: Any) -> Shape:
    """Return the function that rewrites decoded JSON for this type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_shape(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _shape_of(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return _list_shape(_shape_of(arguments[0]), _zero_of(arguments[0]))
    if origin is dict:
        return _dict_shape(_zero_of(arguments[1]))
    return _check_year if kind is datetime else _as_is


def _as_is(value: Any) -> Any:
    return value


def _check_year(value: Any) -> Any:
    """Refuse instants at the ends of the calendar, which overflow when they are moved to another zone."""
    year = value[:4] if isinstance(value, str) else ""
    if year.isascii() and year.isdigit() and not MIN_YEAR <= int(year) <= MAX_YEAR:
        raise refuse(f"The year {year} of a time is out of range.")
    return value


def _zero_of(kind: Any) -> Any:
    """Return the zero value as JSON: what `null` in a list or an object stands for."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {}
    if get_origin(kind) is tuple:
        element, *more = get_args(kind)
        return [] if more == [Ellipsis] else [_zero_of(element), *map(_zero_of, more)]
    return kind() if isinstance(kind, type) else 0


def _struct_shape(kind: type[msgspec.Struct]) -> Shape:
    hints = get_type_hints(kind)
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    fields = {key: (key, _shape_of(hints[name])) for name, key in names}
    fields |= {key.lower(): field for key, field in fields.items()}

    def shape(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        shaped: dict[str, Any] = {}
        for given, item in value.items():
            field = fields.get(given) or fields.get(given.lower())
            if field is None:
                raise _Misfit(given, kind.__struct_encode_fields__)
            _put(shaped, field, item)
        return shaped

    return shape


def _put(shaped: dict[str, Any], field: tuple[str, Shape], item: Any) -> None:
    key, shape = field
    if item is None:
        shaped.pop(key, None)
        return
    try:
        shaped[key] = shape(item)
    except _Misfit as misfit:
        misfit.path.append(f".{key}")
        raise


def _list_shape(shape: Shape, zero: Any) -> Shape:
    def shape_all(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        shaped = []
        for index, item in enumerate(value):
            try:
                shaped.append(shape(zero if item is None else item))
            except _Misfit as misfit:
                misfit.path.append(f"[{index}]")
                raise
        return shaped

    return shape_all


def _dict_shape(zero: Any) -> Shape:
    def shape(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: zero if item is None else item for key, item in value.items()}

    return shape
