"""Name everything that a use case may raise.

    EgretError                      base, never raised itself
    +-- InvalidRequest(code, ...)   the caller's fault: an API code and a sentence that helps
    +-- Unavailable                 a dependency does not answer: try again later
    +-- Conflict                    somebody else wrote first, or an idempotency key is in use
    +-- ContractError               bytes that should be ours, or a peer's, cannot be decoded

What happens to mail (a refusal, a deferral) is a value of `outcome`, not an exception.
Each error has two texts: `public` is a sentence that may be sent to a customer or a peer; `detail` is for the log only.
Adapters translate foreign exceptions with `raise ... from`.
"""

from __future__ import annotations


class EgretError(Exception):
    """The base of the tree.

    public: a sentence without internals, safe to send to a customer or a peer.
    detail: what an operator needs in the log; never a body, a key or an Authorization value.
    """

    default_public = "Something went wrong."

    def __init__(self, public: str = "", *, detail: str = "") -> None:
        self.public = public or self.default_public
        self.detail = detail
        super().__init__(self.public, detail)

    def __str__(self) -> str:
        """Return both texts, for the log."""
        return f"{self.public} ({self.detail})" if self.detail else self.public


class InvalidRequest(EgretError):
    """The caller asked for something that cannot be; the same request will fail again.

    code: a code of the API, such as `user`, `badAddress`, `messageNotFound`.
    """

    default_public = "The request is not valid."

    def __init__(self, code: str, public: str = "", *, detail: str = "") -> None:
        super().__init__(public, detail=detail)
        self.code = code


class Unavailable(EgretError):
    """A dependency is down, slow or throttling; the same request may succeed later."""

    default_public = "The service is not available at the moment, please try again."


class Conflict(EgretError):
    """A conditional write lost: the thing exists already or has changed since it was read."""

    default_public = "The request conflicts with another one."


class ContractError(EgretError):
    """A message between our parts, a stored item or a peer's data does not have the agreed form."""

    default_public = "The data could not be read."
