"""Capacity units of DynamoDB, against examples computed by hand."""

from __future__ import annotations

import pytest

from bench.units import Index, failed_write_units, item_bytes, number_bytes, read_units, value_bytes, write_units

DUE = Index(("due_shard", "due_at"))


def _item(size_bytes: int) -> dict[str, dict[str, object]]:
    """Return an item of exactly that size: pk and sk take 2 + 1 + 2 + 1 bytes, the name of the rest one."""
    return {"pk": {"S": "p"}, "sk": {"S": "s"}, "d": {"B": bytes(size_bytes - 7)}}


def _due(size_bytes: int, due_at: str) -> dict[str, dict[str, object]]:
    return _item(size_bytes) | {"due_shard": {"S": "delivery#1"}, "due_at": {"N": due_at}}


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 1), ("7", 2), ("42", 2), ("123", 3), ("-42", 3), ("100000", 2), ("0.0042", 2), ("1767323045123456", 9)],
)
def test_a_number_takes_a_byte_for_two_significant_digits_and_one_more(text: str, size: int) -> None:
    """Zeros at both ends are not stored; a minus sign is."""
    assert number_bytes(text) == size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "Grüße"}, 7),
        ({"B": b"\0\1\2"}, 3),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": [{"S": "ab"}, {"N": "7"}]}, 3 + (1 + 2) + (1 + 2)),
        ({"M": {"ab": {"S": "c"}}}, 3 + (1 + 2 + 1)),
    ],
)
def test_a_value_has_the_size_that_the_guide_gives_its_kind(value: dict[str, object], size: int) -> None:
    """Text is UTF-8; containers have three bytes and one for each element."""
    assert value_bytes(value) == size


def test_a_kind_without_a_rule_is_refused() -> None:
    """A size that nobody knows is not guessed."""
    with pytest.raises(ValueError, match="SS"):
        value_bytes({"SS": ["a"]})


def test_an_item_is_its_names_and_values() -> None:
    """Two for pk and 3, two for sk and 5, one for n and 2."""
    assert item_bytes({"pk": {"S": "abc"}, "sk": {"S": "defgh"}, "n": {"N": "12"}}) == 5 + 7 + 3


@pytest.mark.parametrize(("size", "units"), [(7, 1), (1024, 1), (1025, 2), (2048, 2), (2049, 3)])
def test_a_put_costs_a_unit_for_each_kilobyte_begun(size: int, units: int) -> None:
    """1 KB is 1,024 bytes."""
    assert write_units(None, _item(size), ()) == units


def test_the_larger_form_counts() -> None:
    """Replacing 3 KB by a few bytes, or removing them, costs 3 units; adding to nothing costs the new size."""
    assert write_units(_item(3000), _item(20), ()) == 3
    assert write_units(_item(3000), None, ()) == 3
    assert write_units(_item(20), _item(3000), ()) == 3


def test_removing_what_is_absent_costs_a_unit() -> None:
    """DynamoDB looks all the same."""
    assert write_units(None, None, (DUE,)) == 1


def test_a_transaction_writes_each_item_twice_and_its_index_once() -> None:
    """2 x 2 for the item of 1.5 KB, 1 for its entry."""
    assert write_units(None, _due(1500, "1"), (DUE,), in_transaction=True) == 5


def test_an_item_without_the_index_keys_is_not_in_the_index() -> None:
    """The index is sparse."""
    assert DUE.write_units(None, _item(20)) == 0


def test_entering_and_leaving_the_index_cost_a_unit_each() -> None:
    """One entry is written or removed."""
    assert DUE.write_units(None, _due(40, "1")) == 1
    assert DUE.write_units(_due(40, "1"), _item(40)) == 1


def test_an_entry_that_stays_as_it_is_costs_nothing() -> None:
    """A claim changes the item, not its place in the index."""
    assert DUE.write_units(_due(60, "1"), _due(600, "1")) == 0


def test_moving_in_the_index_costs_two_units() -> None:
    """The old entry goes and another one comes."""
    assert write_units(_due(60, "1"), _due(60, "2"), (DUE,)) == 1 + 2


def test_a_failed_condition_costs_what_stood_in_the_way() -> None:
    """Nothing was written, but looked at."""
    assert failed_write_units(_item(1500)) == 2
    assert failed_write_units(None) == 1
    assert failed_write_units(_item(1500), in_transaction=True) == 4


@pytest.mark.parametrize(
    ("size", "is_consistent", "units"),
    [(0, True, 1), (0, False, 0.5), (4096, True, 1), (4097, True, 2), (9000, False, 1.5)],
)
def test_reads_are_charged_by_four_kilobytes(size: int, is_consistent: bool, units: float) -> None:
    """An absent item is read too; eventually consistent reads cost half."""
    assert read_units(size, is_consistent=is_consistent) == units
