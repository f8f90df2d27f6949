"""What goes wrong."""

from __future__ import annotations

import json


class EspushError(Exception):
    """Anything that goes wrong here."""


class Unreachable(EspushError):
    """Nobody answered, or what answered is no espush."""


class TimedOut(Unreachable):
    """The answer did not come in time. What was asked may have been done all the same."""


class Problem(EspushError):
    """The server refused (RFC 9457). `code` is a word that stays: docs/en/api.md of espush lists them all."""

    def __init__(self, status: int, code: str, detail: str, hint: str | None = None, position: int | None = None) -> None:
        super().__init__(f"{detail} ({hint})" if hint else detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.position = position


def problem(status: int, body: bytes) -> EspushError:
    """The error that an answer tells of."""
    try:
        told = json.loads(body)
        return Problem(status, told["code"], told["detail"], told.get("hint"), told.get("position"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unreachable(f"the server answered {status}, and not as espush does")
