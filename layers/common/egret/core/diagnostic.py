"""Find reply code and enhanced code in the diagnostic text of a delivery status notification.

Implements: RFC 3463 section 2, RFC 3464 section 2.3.6, as remote MTAs really write them: several lines joined to one,
`550-5.1.1`, `550 #5.1.1`, `host mx.example.net said: 550 5.1.1 …`. Does not judge what a code means.
"""

from __future__ import annotations

import re

_STATUS = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?!\.?\d)")
# In free text a subject is one digit, 0..7: `4.94.2` is a version of Exim, `5.1.1.7` an address.
_ENHANCED = re.compile(r"(?<![\d.])(?:(?<![\w-])|(?<=[245]\d\d-)|(?<=#))([245]\.[0-7]\.\d{1,3})(?!\.?\d)")
_PAIR = re.compile(r"(?<![\w.])([245]\d\d)[ \-]\s{0,3}[(\[\"']?#?([245]\.[0-7]\.\d{1,3})(?!\.?\d)")
_FIRST_WORD = re.compile(r"[\"'<\[(\s]*([245][0-5]\d)(?=[ \-:;,)\]]|$)")
_AFTER_MARK = re.compile(
    r"(?:[:;>]|\b(?:said|reply|response|returned|error|code|status))"
    r"[\s(<\"']{0,3}([245][0-5]\d)(?=[ \-)]|$)",
    re.IGNORECASE,
)
_CONTINUED_LINE = re.compile(r"(?<=\s)([45][0-5]\d)-(?=[^\d\s])")
_CLASS_CODES = {"4": 400, "5": 500}


def status_code(text: str) -> str:
    """Return the enhanced code of a Status field, or ""; comments and leading zeros go (RFC 3464 section 2.3.4)."""
    match = _STATUS.search(text)
    return _plain(match[0]) if match else ""


def reply_codes(text: str, status: str) -> tuple[int, str]:
    """Return (reply code, enhanced code) of one recipient block; 0 and "" where nothing is known.

    text: the Diagnostic-Code without its type. status: the enhanced code of the Status field, or "".
    The diagnostic text has the better code, unless it says only x.0.0; the class of both results agrees.
    Without a code in the text, Status 4.x.y gives 400 and 5.x.y gives 500.
    """
    code, paired = _reply_code(text)
    digit = str(code)[0] if code else status[:1]
    told = [_plain(found) for found in (*paired, *_ENHANCED.findall(text))]
    candidates = [enhanced for enhanced in (*told, status) if enhanced and digit in ("", enhanced[0])]
    best = _most_precise(candidates)
    return code or _CLASS_CODES.get(best[:1], 0), best


def _reply_code(text: str) -> tuple[int, list[str]]:
    """Return the reply code, or 0, and the enhanced codes that stand right beside a reply code of their class."""
    pairs = [(pair[1], pair[2]) for pair in _PAIR.finditer(text) if pair[1][0] == pair[2][0]]
    if pairs:
        return int(pairs[0][0]), [enhanced for _, enhanced in pairs]
    match = _FIRST_WORD.match(text) or _AFTER_MARK.search(text) or _CONTINUED_LINE.search(text)
    return (int(match[1]) if match else 0), []


def _most_precise(candidates: list[str]) -> str:
    """Return the first code that is not x.0.0; a later x.y.z refines an x.y.0; "" if there is none."""
    best = next((enhanced for enhanced in candidates if not enhanced.endswith(".0.0")), "")
    if not best:
        return candidates[0] if candidates else ""
    subject, _, detail = best.rpartition(".")
    if detail != "0":
        return best
    return next((enhanced for enhanced in candidates if enhanced != best and enhanced.startswith(subject + ".")), best)


def _plain(enhanced_code: str) -> str:
    return ".".join(str(int(number)) for number in enhanced_code.split("."))
