"""Server-sent events out of bytes, and when to call again after a line broke. Deliberately absent: sockets and clocks."""

from __future__ import annotations

import json
import random

from ._models import Event

SILENCE_S = 45.0
"""After so much silence the line is dead: the server says something every 15 seconds."""


class Parser:
    """Takes bytes as they come, gives events as they are whole."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._rest = b""
        self._kind = "message"
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        # Not `splitlines`: that ends lines at characters which may stand in JSON.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = []
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode(errors="replace"))
            if event:
                events.append(event)
        return events

    def _line(self, line: str) -> Event | None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            event = Event(self._kind, json.loads("\n".join(self._data)), self._id) if self._data else None
            if event and self._id is not None:
                self.last_id = self._id
            self._kind, self._data, self._id = "message", [], None
            return event
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif not name and value.startswith("some events since Last-Event-ID"):
            return Event("gap", {"why": value}, None)
        return None


class Backoff:
    """How long to wait before the next call: half a second at first, twice as long each time, a minute at most, and
    by chance less, so that many clients do not come back at once."""

    def __init__(self) -> None:
        self._failures = 0

    def stood(self) -> None:
        self._failures = 0

    def pause_s(self) -> float:
        whole = min(0.5 * 2.0**self._failures, 60.0)
        self._failures = min(self._failures + 1, 10)
        return whole * random.uniform(0.5, 1.0)
