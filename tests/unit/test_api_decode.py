"""Decoding of JSON texts as Go does it, with sentences that name the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.api.decode import decode
from egret.api.methods import METHODS
from egret.contracts.encoding import encode
from egret.contracts.webapi import DeliveryListRequest, Empty, File, MessageGetRequest, NameAddress, SendRequest, Wire
from egret.core.errors import InvalidRequest

ANN = (NameAddress(address="ann@example.net"),)

GO_CLIENT = (
    b'{"From":null,"To":[{"Name":"","Address":"ann@example.net"}],"CC":null,"BCC":null,"ReplyTo":null,"MessageID":"",'
    b'"References":null,"Date":null,"Subject":"s","Text":"t","HTML":"","Extra":null,"Headers":null,'
    b'"AlternativeFiles":null,"InlineFiles":null,"AttachedFiles":null,"RequireTLS":null,"FutureRelease":null,'
    b'"SaveSent":false}'
)


def test_the_request_of_the_reference_client_is_understood() -> None:
    """It sends every field, and null for what is empty."""
    assert decode(GO_CLIENT, SendRequest) == SendRequest(to=ANN, subject="s", text="t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"to":[{"address":"ann@example.net"}]}', SendRequest(to=ANN)),
        (b'{"TO":[{"aDDRESS":"ann@example.net"}]}', SendRequest(to=ANN)),
        (b'{"messageid":"<a@b>","htmL":"h"}', SendRequest(message_id="<a@b>", html="h")),
        (
            b'{"attachedfiles":[{"data":"eA==","uploadid":"u"}]}',
            SendRequest(attached_files=(File(data="eA==", upload_id="u"),)),
        ),
        (b'{"Subject":"a","subject":"b"}', SendRequest(subject="b")),
        (b'{"subject":"a","Subject":"b"}', SendRequest(subject="b")),
        (b'{"Subject":"a","Subject":"b"}', SendRequest(subject="b")),
        (b'{"Subject":"a","subject":null}', SendRequest()),
        (b"null", SendRequest()),
        (b"{}", SendRequest()),
        (b" \r\n\t{} ", SendRequest()),
        (b'{"Subject":"a"} {"Subject":"b"}', SendRequest(subject="a")),
        (b'{"Subject":"a"}garbage \xc3\xa9', SendRequest(subject="a")),
        (b"null x", SendRequest()),
        (b'{"To":[null]}', SendRequest(to=(NameAddress(),))),
        (b'{"To":[{"Name":null,"Address":"ann@example.net"}]}', SendRequest(to=ANN)),
        (b'{"References":["<a@b>",null]}', SendRequest(references=("<a@b>", ""))),
        (b'{"Headers":[["A","b"],null,["C",null]]}', SendRequest(headers=(("A", "b"), ("", ""), ("C", "")))),
        (b'{"Extra":{"Key":"v","key":null}}', SendRequest(extra={"Key": "v", "key": ""})),
        (b'{"RequireTLS":false}', SendRequest(require_tls=False)),
        (b'{"Date":"2026-01-02T03:04:05Z"}', SendRequest(date=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))),
        (b'{"Subject":"\\ud83d\\ude00"}', SendRequest(subject="\U0001f600")),
    ],
)
def test_texts_that_are_understood(text: bytes, expected: SendRequest) -> None:
    """Case does not matter in keys, null is the zero value, the last of several keys counts, the rest is ignored."""
    assert decode(text, SendRequest) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "not JSON"),
        (b"notjson", "not JSON"),
        (b"{", "not JSON"),
        (b'{"Subject":"a"', "not JSON"),
        (b"{'Subject':1}", "not JSON"),
        (b'{"Subject":"a",}', "not JSON"),
        (b'{"Subject":NaN}', "not JSON"),
        (b'{"Subject":"\\ud800"}', "not JSON"),
        (b'{"Subject":"\xff"}', "not UTF-8"),
        (b'{"Subject":"a"} \xff', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "Expected object, got array"),
        (b'"text"', "Expected object, got string"),
        (b"1", "Expected object, got integer"),
        (b'{"Bogus":1}', "Unknown field 'Bogus'."),
        (b'{"To":[{},{"Mail":"x"}]}', "Unknown field 'Mail' in To[1]."),
        (b'{"To":[{},{"Mail":"x"}]}', "The fields are: Name, Address."),
        (b'{"Bogus":1}', "The fields are: From, To, "),
        (b'{"From_":[]}', "Unknown field 'From_'."),
        (b'{"from_":[]}', "Unknown field 'from_'."),
        (b'{"Subject":1}', "Subject: expected string, got integer."),
        (b'{"Text":["a"]}', "Text: expected string, got array."),
        (b'{"To":"ann@example.net"}', "To: expected array, got string."),
        (b'{"To":{"Address":"ann@example.net"}}', "To: expected array, got object."),
        (b'{"To":["ann@example.net"]}', "To[0]: expected object, got string."),
        (b'{"To":[{"Address":["x"]}]}', "To[0].Address: expected string, got array."),
        (b'{"Extra":{"a":1}}', "Extra[...]: expected string, got integer."),
        (b'{"Extra":[]}', "Extra: expected object, got array."),
        (b'{"Headers":[["a"]]}', "Headers[0]: expected array of length 2, got 1."),
        (b'{"Headers":[["a","b","c"]]}', "Headers[0]: expected array of length 2, got 3."),
        (b'{"SaveSent":"true"}', "SaveSent: expected boolean, got string."),
        (b'{"SaveSent":1}', "SaveSent: expected boolean, got integer."),
        (b'{"RequireTLS":"yes"}', "RequireTLS: expected boolean or null, got string."),
        (b'{"Date":"yesterday"}', "Date: invalid RFC3339 encoded datetime."),
        (b'{"Date":"2026-01-02T03:04:05"}', "Date: expected an RFC 3339 time with a zone."),
        (b'{"Date":1}', "Date: expected an RFC 3339 time or null, got integer."),
        (b'{"Date":"0001-01-01T00:00:00Z"}', "year 0001"),
        (b'{"Date":"9999-12-31T23:59:59Z"}', "year 9999"),
    ],
)
def test_texts_that_are_refused(text: bytes, part: str) -> None:
    """The code is `protocol` and the sentence says where and what."""
    with pytest.raises(InvalidRequest) as caught:
        decode(text, SendRequest)
    assert (caught.value.code, part in caught.value.public) == ("protocol", True), caught.value.public


@pytest.mark.parametrize("text", [b"1.5", b"1.0", b'"1"', b"true", b"1e30", b"9223372036854775808", b"1" * 5000, b"[]"])
def test_an_id_must_be_a_64_bit_integer(text: bytes) -> None:
    """As Go's int64."""
    with pytest.raises(InvalidRequest) as caught:
        decode(b'{"MsgID":' + text + b"}", MessageGetRequest)
    assert caught.value.code == "protocol"


def test_numbers_have_their_names_of_the_description() -> None:
    """As in OpenAPI: an integer is a number, but not the other way round."""
    with pytest.raises(InvalidRequest, match=r"^MsgID: expected integer, got number\."):
        decode(b'{"MsgID":1.5}', MessageGetRequest)


@pytest.mark.parametrize("number", [0, -1, 1, 2**53, 2**63 - 1, -(2**63)])
def test_every_64_bit_integer_is_an_id(number: int) -> None:
    """Whether it exists is for the use case to say."""
    assert decode(json.dumps({"MsgID": number}).encode(), MessageGetRequest).msg_id == number


def test_an_empty_request_knows_no_fields() -> None:
    """MailboxList takes nothing."""
    with pytest.raises(InvalidRequest):
        decode(b'{"Account":"other"}', Empty)


def _outcome(text: bytes, kind: type[Wire]) -> Wire | str:
    """Return the request, or the code of the refusal."""
    try:
        return decode(text, kind)
    except InvalidRequest as error:
        return error.code


@given(st.binary(max_size=300), st.sampled_from(sorted(METHODS)))
def test_any_bytes_are_decoded_or_refused(text: bytes, name: str) -> None:
    """Nothing but InvalidRequest ever comes out."""
    kind = METHODS[name].request
    outcome = _outcome(text, kind)
    assert outcome == "protocol" or isinstance(outcome, kind)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["To", "from", "Address", "Headers", "Extra", "date", "States"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(_JSON, st.sampled_from([SendRequest, DeliveryListRequest]))
def test_any_json_is_decoded_or_refused(value: object, kind: type[SendRequest | DeliveryListRequest]) -> None:
    """JSON of the wrong shape is the caller's mistake, never a failure of ours."""
    outcome = _outcome(json.dumps(value).encode(), kind)
    assert outcome == "protocol" or isinstance(outcome, kind)


_NAMES = st.builds(NameAddress, name=st.text(), address=st.text())
_INSTANTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy takes naive bounds
_REQUESTS = st.builds(
    SendRequest,
    from_=st.lists(_NAMES, max_size=1).map(tuple),
    to=st.lists(_NAMES, max_size=3).map(tuple),
    references=st.lists(st.text(), max_size=2).map(tuple),
    date=st.none() | _INSTANTS,
    subject=st.text(),
    extra=st.dictionaries(st.text(), st.text(), max_size=2),
    headers=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
    require_tls=st.none() | st.booleans(),
)


@given(_REQUESTS, st.sampled_from(["keep", "lower", "upper"]))
def test_what_is_encoded_is_decoded_in_any_case(request: SendRequest, case: str) -> None:
    """Encoding and decoding are inverse, whatever the case of the keys."""
    value = msgspec.json.decode(encode(request))
    if case != "keep":
        value = {getattr(key, case)(): item for key, item in value.items()}
    assert decode(msgspec.json.encode(value), SendRequest) == request
