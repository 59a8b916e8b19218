"""The pages and the OpenAPI document: complete, valid, self-contained, true."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from openapi_spec_validator import validate

from egret.api import openapi, pages
from egret.api.decode import decode
from egret.api.examples import EXAMPLES
from egret.api.methods import METHODS, Method
from egret.contracts.encoding import encode
from egret.contracts.webapi import Wire

EACH_METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


class Outline(HTMLParser):
    """Collects what a page refers to and the text of its form."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.textarea = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note tags and references."""
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        """Note the text of the form."""
        if self.tags and self.tags[-1] == "textarea":
            self.textarea += data

    def handle_endtag(self, tag: str) -> None:
        """Note that text behind belongs to no form."""
        self.tags.append(f"/{tag}")


def test_the_index_lists_every_method_and_the_document() -> None:
    """Relative links, so that any mount works."""
    assert sorted(Outline(pages.index()).references) == sorted([*METHODS, "openapi.json"])


@EACH_METHOD
def test_a_methods_page_loads_nothing(method: Method) -> None:
    """The only reference is the way back: the page works under `default-src 'self'` and without a network."""
    assert Outline(pages.method_page(method)).references == ["./"]


@EACH_METHOD
def test_the_form_of_a_page_holds_a_request_that_the_method_takes(method: Method) -> None:
    """What the button posts is valid as it stands."""
    text = Outline(pages.method_page(method)).textarea
    assert decode(text.encode(), method.request) == decode(
        json.dumps(EXAMPLES[method.name].request).encode(), method.request
    )


@EACH_METHOD
def test_a_page_names_every_field_of_the_request(method: Method) -> None:
    """Also of what it is made of: nobody has to read the OpenAPI document to attach a file."""
    page = pages.method_page(method).decode()
    schemas = openapi.describe()["components"]["schemas"]
    named = {field for field in schemas[method.request.__name__]["properties"] if f"<code>{field}</code>" in page}
    assert named == set(schemas[method.request.__name__]["properties"])
    assert ("<code>UploadID</code> string" in page) is method.takes_files


@EACH_METHOD
def test_methods_that_answer_bytes_are_posted_without_script(method: Method) -> None:
    """The browser shows or saves them."""
    assert ("script" in Outline(pages.method_page(method)).tags) is (method.answer is not None)


@EACH_METHOD
def test_examples_are_of_the_methods_types(method: Method) -> None:
    """An example of another type would teach nonsense."""
    answer = EXAMPLES[method.name].answer
    assert isinstance(answer, method.answer or bytes)


def test_the_methods_stand_in_alphabetical_order() -> None:
    """As the reference's index."""
    assert list(METHODS) == sorted(METHODS)


def test_the_document_is_valid_openapi() -> None:
    """By the validator of the OpenAPI community."""
    validate(json.loads(openapi.document()))


def test_the_document_has_every_method_in_both_encodings() -> None:
    """Urlencoded and multipart."""
    paths = openapi.describe()["paths"]
    encodings = {path.removeprefix("/"): set(item["post"]["requestBody"]["content"]) for path, item in paths.items()}
    both = {"application/x-www-form-urlencoded", "multipart/form-data"}
    assert encodings == dict.fromkeys(METHODS, both)


@EACH_METHOD
def test_the_schemas_fit_the_examples(method: Method) -> None:
    """Requests and answers, checked by a JSON Schema validator."""
    document = openapi.describe()
    post = document["paths"][f"/{method.name}"]["post"]
    form = post["requestBody"]["content"]["application/x-www-form-urlencoded"]
    _check(document, form["schema"], {"request": EXAMPLES[method.name].request})
    answer = EXAMPLES[method.name].answer
    if isinstance(answer, Wire):
        schema = post["responses"]["200"]["content"]["application/json"]["schema"]
        _check(document, schema, msgspec.json.decode(encode(answer)))


def _check(document: Mapping[str, object], schema: Mapping[str, object], value: object) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


@EACH_METHOD
def test_an_answer_without_a_key_does_not_fit(method: Method) -> None:
    """The schemas promise every key of an answer."""
    if method.answer is None or not method.answer.__struct_fields__:
        return
    document = openapi.describe()
    schema = {"$ref": f"#/components/schemas/{method.answer.__name__}"}
    with pytest.raises(jsonschema.ValidationError):
        _check(document, schema, {})


def test_descriptions_name_fields_as_they_are_on_the_wire() -> None:
    """No Python name in the document."""
    schemas = openapi.describe()["components"]["schemas"]
    words = {
        word for schema in schemas.values() for word in re.findall(r"\b[a-z]+_[a-z_]*\b", schema.get("description", ""))
    }
    assert words == set()
