"""The nouns of the API. Members that a newer server adds are left out, so that they do no harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Raw = Mapping[str, Any]
"""JSON as it came."""

Value = bool | int | float | str
"""What a device measures."""

ALL: Mapping[str, object] = MappingProxyType({"all": True})
"""Every device there is, as the audience of a push."""


def time(text: str) -> datetime:
    """A moment, from RFC 3339."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def content(raw: Raw) -> bytes:
    """The bytes that stand in `text` or `hex`."""
    return bytes.fromhex(raw["hex"]) if "hex" in raw else str(raw["text"]).encode()


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list. `next` is the cursor of those that follow, if any do."""

    items: list[T]
    next: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


@dataclass(frozen=True)
class Delivery:
    """The fate of a push at one device."""

    device: str
    state: str
    at: datetime
    detail: str
    answer: bytes | None
    """What the device answered."""

    @property
    def text(self) -> str:
        """The answer as text; empty when there is none."""
        return (self.answer or b"").decode(errors="replace")

    @staticmethod
    def of(raw: Raw) -> Delivery:
        answer = raw.get("answer")
        return Delivery(raw["device"], raw["state"], time(raw["at"]), raw.get("detail", ""), content(answer) if answer else None)


@dataclass(frozen=True)
class Push:
    """A push, and how far it has come."""

    id: int
    order: str
    audience: object
    payload: bytes
    sender: str
    devices: int
    remaining: int
    """Devices of the audience whose delivery is still to be made."""
    counts: dict[str, int]
    """Deliveries by state."""
    created: datetime
    expires: datetime | None
    deliveries: list[Delivery]
    """The first thousand, where they were asked for."""

    @staticmethod
    def of(raw: Raw) -> Push:
        return Push(
            id=raw["id"],
            order=raw["order"],
            audience=raw["audience"],
            payload=content(raw),
            sender=raw["sender"],
            devices=raw["devices"],
            remaining=raw["remaining"],
            counts=dict(raw["counts"]),
            created=time(raw["created"]),
            expires=time(raw["expires"]) if raw["expires"] else None,
            deliveries=[Delivery.of(row) for row in raw.get("deliveries", [])],
        )


@dataclass(frozen=True)
class Reason:
    """Why some devices would not get a push."""

    reason: str
    devices: int
    detail: str

    @staticmethod
    def of(raw: Raw) -> Reason:
        return Reason(raw["reason"], raw["devices"], raw["detail"])


@dataclass(frozen=True)
class PreviewItem:
    """What would happen at one device: `now`, `later` or `not`."""

    device: str
    online: bool
    protocol: str
    outcome: str
    reason: str | None

    @staticmethod
    def of(raw: Raw) -> PreviewItem:
        return PreviewItem(raw["device"], raw["online"], raw["protocol"], raw["outcome"], raw.get("reason"))


@dataclass(frozen=True)
class Preview:
    """What a push would do."""

    devices: int
    now: int
    later: int
    never: int
    reasons: list[Reason]
    unknown: list[str]
    items: list[PreviewItem]
    next: str | None

    @staticmethod
    def of(raw: Raw) -> Preview:
        counts = raw["counts"]
        reasons = [Reason.of(row) for row in raw["reasons"]]
        items = [PreviewItem.of(row) for row in raw["items"]]
        now, later, never = counts["now"], counts["later"], counts["not"]
        return Preview(raw["devices"], now, later, never, reasons, list(raw["unknown"]), items, raw["next"])


@dataclass(frozen=True)
class Device:
    """A device."""

    id: str
    number: int
    app: int
    name: str
    alias: str
    tags: Sequence[str]
    firmware: str
    open: bool
    blocked: bool
    """It is not let in."""
    meta: Mapping[str, Value]
    """What its owner wrote down."""
    created: datetime
    online: bool
    since: datetime | None
    """Since when it is online, or is not."""
    why: str
    protocol: str
    remote: str

    @staticmethod
    def of(raw: Raw) -> Device:
        return Device(
            id=raw["id"],
            number=raw["number"],
            app=raw["app"],
            name=raw["name"],
            alias=raw["alias"],
            tags=tuple(raw["tags"]),
            firmware=raw["firmware"],
            open=raw["open"],
            blocked=raw["blocked"],
            meta=dict(raw["meta"]),
            created=time(raw["created"]),
            online=raw["online"],
            since=time(raw["since"]) if raw["since"] else None,
            why=raw["why"],
            protocol=raw["protocol"],
            remote=raw["remote"],
        )


@dataclass(frozen=True)
class Point:
    """One value of one stream."""

    stream: str
    at: datetime
    value: Value

    @staticmethod
    def of(raw: Raw) -> Point:
        return Point(raw["stream"], time(raw["at"]), raw["value"])


@dataclass(frozen=True)
class TwinPart:
    """What is wanted of a device, or what it tells of itself."""

    value: dict[str, Any]
    version: int
    at: datetime | None
    """When it changed last; `None` if it never did."""

    @staticmethod
    def of(raw: Raw) -> TwinPart:
        return TwinPart(dict(raw["value"]), raw["version"], time(raw["at"]) if raw["at"] else None)


@dataclass(frozen=True)
class Twin:
    """Both parts of a device's twin, and what differs."""

    desired: TwinPart
    reported: TwinPart
    delta: dict[str, Any]
    """The merge patch that the device is still to be told."""
    acknowledged: int | None
    """The version of `desired` that the device has told to have dealt with."""
    note: str | None
    """Why the device cannot be told, if so."""

    @staticmethod
    def of(raw: Raw) -> Twin:
        desired, reported = TwinPart.of(raw["desired"]), TwinPart.of(raw["reported"])
        return Twin(desired, reported, dict(raw["delta"]), raw["acknowledged"], raw.get("note"))


@dataclass(frozen=True)
class TwinChange:
    """A change of a twin."""

    part: str
    """`desired` or `reported`."""
    version: int
    at: datetime
    who: str
    patch: dict[str, Any]
    """The merge patch from the version before."""

    @staticmethod
    def of(raw: Raw) -> TwinChange:
        return TwinChange(raw["part"], raw["version"], time(raw["at"]), raw["who"], dict(raw["patch"]))


@dataclass(frozen=True)
class Sent:
    """How far a message to a number came. Never that somebody has read it."""

    sender: int
    """One's own number: answers go there."""
    to: int
    state: str
    """`sent` to an open line, or `kept` for a device that is away."""

    @staticmethod
    def of(raw: Raw) -> Sent:
        return Sent(raw["from"], raw["to"], raw["state"])


@dataclass(frozen=True)
class Event:
    """Something that happened. `gap` says that some events before it are lost: load the state anew."""

    kind: str
    data: dict[str, Any]
    id: str | None
