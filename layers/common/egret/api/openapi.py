"""The OpenAPI 3.1 description of the API, made from the wire types and the table of methods."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from egret.api.examples import EXAMPLES
from egret.api.methods import METHODS, Method
from egret.contracts.encoding import encode
from egret.contracts.webapi import Error, ErrorCode, IncomingMessage, OutgoingEvent, Wire, go_name

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = """\
Every method is a POST of a form whose field `request` holds the JSON text of the call. Keys are compared without regard
to case; a missing key and `null` mean the zero value; unknown keys are refused. Answers carry every key, and may get
more: ignore what you do not know. Times are RFC 3339. Ids are integers below 2^53."""

_TEXT_STATUSES: Final = {
    "401": "Credentials are missing or wrong, or the account is disabled.",
    "429": "Too many failed logins from this network.",
    "500": "Something went wrong on our side; the answer names the request for the log.",
    "503": "A dependency does not answer; try again after the time in Retry-After.",
}


@cache
def document() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(describe()) + b"\n"


def describe() -> Schema:
    """Return the document as built-in types."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Egret mail API", "version": "0", "description": _DESCRIPTION},
        "servers": [{"url": "/webapi/v0"}],
        "security": [{"basic": []}, {"bearer": []}],
        "paths": {f"/{method.name}": {"post": _operation(method)} for method in METHODS.values()},
        "webhooks": {
            "outgoing": {"post": _webhook("What became of a delivery.", OutgoingEvent)},
            "incoming": {"post": _webhook("Mail that came in, if the account has a webhook for it.", IncomingMessage)},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "An address and its API key."},
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
            },
        },
    }


def _operation(method: Method) -> Schema:
    return {
        "operationId": method.name,
        "summary": method.summary,
        "tags": [method.group.value],
        "parameters": [_IDEMPOTENCY_KEY] if method.idempotent else [],
        "requestBody": {"required": True, "content": _request_content(method)},
        "responses": _responses(method),
    }


_IDEMPOTENCY_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same request gives the same answer for 24 hours, and sends once.",
    "schema": {"type": "string", "maxLength": 255, "pattern": "^[ -~]*$"},
}


def _request_content(method: Method) -> Schema:
    """Describe both encodings of the form."""
    properties: Schema = {"request": _ref(method.request)}
    form = {
        "schema": {"type": "object", "required": ["request"], "properties": properties},
        "encoding": {"request": {"contentType": "application/json"}},
        "example": {"request": EXAMPLES[method.name].request},
    }
    files = {name: _FILES for name in ("alternativefile", "inlinefile", "attachedfile") if method.takes_files}
    schema = {"type": "object", "required": ["request"], "properties": properties | files}
    return {"application/x-www-form-urlencoded": form, "multipart/form-data": {**form, "schema": schema}}


_FILES: Final[Schema] = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "Files; each part has a filename and may have Content-Type and Content-ID.",
}


def _responses(method: Method) -> Schema:
    codes = [code.value for code in method.all_errors]
    responses: Schema = {
        "200": _answer(method),
        "400": _error("The request is refused; Code is one of: " + ", ".join(codes) + ".", codes),
        "403": _error(
            "The key's scope does not allow the method, or a page of another site called.", [ErrorCode.FORBIDDEN.value]
        ),
    }
    if method.answer is None:
        responses["303"] = {
            "description": "The message is large: fetch it from here.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        }
    if method.idempotent:
        conflicts = [ErrorCode.IDEMPOTENCY_CONFLICT.value, ErrorCode.IDEMPOTENCY_IN_FLIGHT.value]
        responses["409"] = _error("The Idempotency-Key belongs to another request, or to one in flight.", conflicts)
    return responses | {status: _text(sentence) for status, sentence in _TEXT_STATUSES.items()}


def _answer(method: Method) -> Schema:
    example = EXAMPLES[method.name].answer
    if method.answer is None or isinstance(example, bytes):
        return {"description": "The octets.", "content": {method.octets: {"schema": {"type": "string"}}}}
    content = {"schema": _ref(method.answer), "example": msgspec.json.decode(encode(example))}
    return {"description": "Done.", "content": {"application/json": content}}


def _error(description: str, codes: list[str]) -> Schema:
    schema = {"allOf": [_ref(Error), {"type": "object", "properties": {"Code": {"enum": codes}}}]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str) -> Schema:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _webhook(summary: str, body: type[Wire]) -> Schema:
    return {
        "summary": f"{summary} Signed by Standard Webhooks; repeats have the same EventID.",
        "requestBody": {"content": {"application/json": {"schema": _ref(body)}}},
        "responses": {"2XX": {"description": "Received."}, "410": {"description": "Send no more."}},
    }


def _ref(kind: type[Wire]) -> Schema:
    return {"$ref": _REF.format(name=kind.__name__)}


def _schemas() -> Schema:
    """Return the schemas of all wire types; those of answers promise every key and allow further ones."""
    requests = [method.request for method in METHODS.values()]
    answers = [method.answer for method in METHODS.values() if method.answer] + [Error, OutgoingEvent, IncomingMessage]
    _, asked = msgspec.json.schema_components(requests, ref_template=_REF)
    _, answered = msgspec.json.schema_components(answers, ref_template=_REF)
    promised = {name: _promise(schema) if name not in asked else schema for name, schema in answered.items()}
    return {name: _tidy(schema) for name, schema in sorted((promised | asked).items())}


def _promise(schema: Schema) -> Schema:
    rest = {key: value for key, value in schema.items() if key != "additionalProperties"}
    return {**rest, "required": list(schema["properties"])}


def _tidy(schema: Schema) -> Schema:
    """Write field names in descriptions as they are on the wire (`from_id:` -> `FromID:`), and drop line breaks."""
    described = re.sub(r"\s*\n\s*", " ", schema.get("description", ""))
    properties = schema.get("properties", {})
    described = _FIELD_LIST.sub(
        lambda found: go_name(found[0]) if go_name(found[0]) in properties else found[0], described
    )
    return {**schema, "description": described} if described else schema


_FIELD_LIST: Final = re.compile(r"(?<=`)[a-z_]+(?=`)|\b[a-z_]+\b(?=(?: \([a-z]+\))?(?:, [a-z_]+(?: \([a-z]+\))?)*:)")
"""Words in backticks, and words that a colon follows, alone or as a list."""
