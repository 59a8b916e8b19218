"""The error tree: what is public stays apart from what is for the log."""

from __future__ import annotations

import pytest

from egret.core.errors import Conflict, ContractError, EgretError, InvalidRequest, Unavailable

LEAVES = (Unavailable, Conflict, ContractError)


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_leaf_is_an_egret_error_with_a_sentence_of_its_own(leaf: type[EgretError]) -> None:
    """An error raised without words still has something to tell the customer."""
    error = leaf()
    assert isinstance(error, EgretError)
    assert error.public.endswith((".", "again."))
    assert error.public != EgretError.default_public


def test_public_sentence_never_contains_the_detail() -> None:
    """What is written for the log does not reach the customer."""
    error = Unavailable("Please try again.", detail="ProvisionedThroughputExceeded on mail")
    assert error.public == "Please try again."
    assert str(error) == "Please try again. (ProvisionedThroughputExceeded on mail)"


def test_detail_is_left_out_of_the_log_line_when_there_is_none() -> None:
    """No empty parentheses in the log."""
    assert str(Conflict("Exists already.")) == "Exists already."


def test_invalid_request_carries_the_code_of_the_api() -> None:
    """A handler answers with the code and the public sentence and needs nothing else."""
    error = InvalidRequest("badAddress", "The address has no domain.", detail="to[3]")
    assert (error.code, error.public, error.detail) == ("badAddress", "The address has no domain.", "to[3]")


def test_invalid_request_without_words_still_helps() -> None:
    """The default sentence stands in."""
    assert InvalidRequest("user").public == InvalidRequest.default_public


def test_the_leaves_do_not_catch_one_another() -> None:
    """`except Unavailable` never swallows a caller's fault."""
    kinds = (*LEAVES, InvalidRequest)
    related = [(a, b) for a in kinds for b in kinds if a is not b and issubclass(a, b)]
    assert related == []
