"""HTML pages of the API: the list of methods, and for each a form that calls it.

Without external resources, so that they work under the API's own Content-Security-Policy and without a network.
"""

from __future__ import annotations

import html
import json
import re
import shlex
from functools import cache
from typing import Final

import msgspec

from egret.api.examples import EXAMPLES
from egret.api.methods import METHODS, Group, Method
from egret.api.openapi import Schema, describe
from egret.contracts.encoding import encode
from egret.contracts.webapi import Wire

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
code,pre,textarea{font:14px/1.4 ui-monospace,monospace}
pre,textarea{background:#f4f4f2;border:1px solid #ccc;border-radius:4px;padding:.6rem;width:100%;box-sizing:border-box}
pre{overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
dt{font-weight:600;margin-top:.5rem}dd{margin:0 0 0 1rem}
button{font:inherit;padding:.3rem 1rem}
"""

_SCRIPT: Final = """
document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const output = document.querySelector('output');
  output.textContent = 'Calling…';
  try {
    const answer = await fetch(location.pathname, {method: 'POST', body: new FormData(event.target)});
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch (error) { /* not JSON: shown as it is */ }
    output.textContent = answer.status + ' ' + answer.statusText + '\\n\\n' + shown;
  } catch (error) {
    output.textContent = String(error);
  }
});
"""


_IDEMPOTENCY: Final = (
    "<p>With the header <code>Idempotency-Key</code>, a repeated request gives the same answer for 24 hours,"
    " and sends once. A different request with the same key is refused with status 409.</p>"
)


@cache
def index() -> bytes:
    """Return the page that lists the methods."""
    groups = "".join(_group(group) for group in Group)
    body = (
        "<h1>Mail API</h1><p>Each method is called by <code>POST</code> with the JSON text in the form field"
        " <code>request</code>, authenticated by Basic (an address and its API key) or Bearer (the key)."
        ' A description for programs: <a href="openapi.json">openapi.json</a>.</p>'
    )
    return _page("Mail API", body + groups)


def _group(group: Group) -> str:
    entries = "".join(
        f'<dt><a href="{method.name}">{method.name}</a></dt><dd>{html.escape(method.summary)}</dd>'
        for method in METHODS.values()
        if method.group is group
    )
    return f"<h2>{group.value}</h2><dl>{entries}</dl>"


@cache
def method_page(method: Method) -> bytes:
    """Return the page of a method: what it does, a form to call it, an example answer, a curl line."""
    request = json.dumps(EXAMPLES[method.name].request, indent=2, ensure_ascii=False)
    body = (
        f'<p><a href="./">All methods</a></p><h1>{method.name}</h1><p>{html.escape(method.summary)}</p>'
        f"<h2>Request</h2>{_form(method, request)}"
        f"{_fields(method.request)}"
        f"<h2>Example answer</h2><pre>{html.escape(_example_answer(method))}</pre>"
        f"<h2>With curl</h2><pre>{html.escape(_curl(method))}</pre>"
        f"{_IDEMPOTENCY if method.idempotent else ''}"
        f"<h2>Errors</h2><p>{_errors(method)}</p>"
    )
    return _page(method.name, body)


def _fields(request: type[Wire]) -> str:
    """Return the fields of a request, from its schema and the schemas that it refers to."""
    schemas = describe()["components"]["schemas"]
    referred = dict.fromkeys(re.findall(r"schemas/(\w+)", json.dumps(schemas[request.__name__])))
    parts = [_schema("", schemas[request.__name__]), *(_schema(name, schemas[name]) for name in referred)]
    return "<h2>Fields</h2>" + "".join(parts)


def _schema(name: str, schema: Schema) -> str:
    fields = ", ".join(f"<code>{field}</code> {_type(about)}" for field, about in schema["properties"].items())
    title = f"<b>{name}</b>: " if name else ""
    return f"<p>{title}{html.escape(schema.get('description', ''))}</p><p>{fields or 'None.'}</p>"


def _type(about: Schema) -> str:
    """Return the type of a field in words: `string`, `list of File`, `boolean or null`."""
    if "anyOf" in about:
        return " or ".join(_type(one) for one in about["anyOf"])
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    if about.get("type") == "array":
        items = about.get("items")
        return f"list of {_type(items)}" if isinstance(items, dict) else "list"
    return "time" if about.get("format") == "date-time" else str(about.get("type", "value"))


def _form(method: Method, request: str) -> str:
    """Return the form; a method that answers bytes is posted plainly, so that the browser shows or saves them."""
    rows = min(request.count("\n") + 2, 30)
    script = f"<script>{_SCRIPT}</script>" if method.answer else ""
    answer = "<pre><output>The answer appears here.</output></pre>" if method.answer else ""
    return (
        f'<form method="post" enctype="multipart/form-data"><textarea name="request" rows="{rows}" spellcheck="false">'
        f"{html.escape(request)}</textarea>{_file_inputs(method)}<p><button>Call {method.name}</button></p></form>"
        f"{answer}{script}"
    )


def _file_inputs(method: Method) -> str:
    if not method.takes_files:
        return ""
    fields = (("attachedfile", "Attached"), ("inlinefile", "Inline"), ("alternativefile", "Alternative"))
    inputs = (
        f'<p><label>{label} files: <input type="file" name="{name}" multiple></label></p>' for name, label in fields
    )
    return "".join(inputs)


def _example_answer(method: Method) -> str:
    answer = EXAMPLES[method.name].answer
    if isinstance(answer, bytes):
        return answer.decode()
    return msgspec.json.format(encode(answer), indent=2).decode()


def _curl(method: Method) -> str:
    request = json.dumps(EXAMPLES[method.name].request, ensure_ascii=False)
    return (
        f"curl --user you@example.com:YOUR-API-KEY \\\n  --data-urlencode request={shlex.quote(request)} \\\n"
        f"  https://HOST/webapi/v0/{method.name}"
    )


def _errors(method: Method) -> str:
    codes = ", ".join(f"<code>{code.value}</code>" for code in method.all_errors)
    return f'Status 400 with <code>{{"Code": …, "Message": …}}</code>; codes: {codes}.'


def _page(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()
