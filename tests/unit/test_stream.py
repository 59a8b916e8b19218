"""What a record of the change stream tells."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from egret.contracts.stream import StreamRecord
from tests.samples import busy, delivery, ended


def test_new_events_are_those_since_the_old_image() -> None:
    """A change that brought two, one that brought one, one that brought none."""
    new = ended("abcdefgh")
    one_event = replace(new, events=new.events[:1])

    assert new.events == StreamRecord(delivery("abcdefgh"), new).new_events
    assert new.events[1:] == StreamRecord(one_event, new).new_events
    assert StreamRecord(new, replace(new, rev=9)).new_events == ()


def test_all_events_of_an_inserted_delivery_are_new() -> None:
    """Such as one that was suppressed as it was accepted."""
    assert ended("abcdefgh").events == StreamRecord(None, ended("abcdefgh")).new_events


def test_removal_brings_no_event() -> None:
    """What storage drops has been told long ago."""
    record = StreamRecord(ended("abcdefgh"), None)

    assert (record.is_removal, record.new_events, record.delivery) == (True, (), ended("abcdefgh"))


def test_delivery_is_the_newest_image() -> None:
    """New before old."""
    assert StreamRecord(delivery("abcdefgh"), busy("abcdefgh")).delivery == busy("abcdefgh")
    assert not StreamRecord(None, busy("abcdefgh")).is_removal


def test_record_of_nothing_is_a_bug() -> None:
    """One of the images is always there."""
    with pytest.raises(ValueError, match="without a delivery"):
        _ = StreamRecord(None, None).delivery
