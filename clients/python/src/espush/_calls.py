"""What each method asks of the server and how it reads the answer. Deliberately absent: sockets, so that both clients
share it."""

from __future__ import annotations

import base64
import json as json_
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from ._models import Delivery, Device, Page, Point, Preview, Push, Raw, Twin, TwinChange, Value

T = TypeVar("T")

ROWS = 1000
"""Rows of a page, where somebody reads them all."""

Audience = str | Mapping[str, object]
"""A device's id, or `{"tags": {"all": ["kitchen"]}}` and what else the API takes, or `ALL`."""

NOTHING: Any = object()
"""No JSON, which is not `None`: that is JSON's null."""


RETRIES_MAX = 3
"""How often a call is made again that the server refused because there were too many. It has done nothing then, so every
call may be."""

RETRY_S_MAX = 10
"""The longest pause before that. Who is to wait longer is told so."""


def retry_s(status: int, retry_after: str | None, retries: int) -> float | None:
    """How long to wait before a call is made again; `None`: not at all."""
    if status != 429 or retries >= RETRIES_MAX or not (retry_after or "").isdecimal():
        return None
    seconds = float(retry_after or 0)
    return seconds if seconds <= RETRY_S_MAX else None


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, object] | Sequence[object] | None = None
    wait_s: float = 0.0


def path(*parts: object, **query: object) -> str:
    """An address under `/api/v1`, with what is given of the query."""
    address = "/api/v1/" + "/".join(quote(str(part), safe="") for part in parts)
    given = {name.rstrip("_"): plain(value) for name, value in query.items() if value is not None}
    return f"{address}?{urlencode(given, quote_via=quote)}" if given else address


def plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return moment(value) if isinstance(value, datetime) else str(value)


def moment(at: datetime) -> str:
    """RFC 3339. A time without a zone is the local one, as everywhere in Python."""
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order(to: Audience, payload: str | bytes | None, json: object, about: Mapping[str, object], extra: Raw | None) -> Raw:
    """The body of a push."""
    audience: object = {"device": to} if isinstance(to, str) else ("all" if "all" in to else dict(to))
    body: dict[str, object] = {"audience": audience}
    if isinstance(payload, str):
        body["text"] = payload
    elif payload is not None:
        body["base64"] = base64.b64encode(payload).decode()
    if json is not NOTHING:
        body["json"] = json
    body.update({name: value for name, value in about.items() if value is not None and value is not False})
    return {**body, **(extra or {})}


def push(
    to: Audience,
    payload: str | bytes | None,
    json: object,
    *,
    wait: float,
    ttl: float | None,
    key: str | None,
    extra: Raw | None,
    ask: bool = False,
    command: str | None = None,
) -> Call[Push]:
    about = {"ask": ask, "command": command, "ttl_s": None if ttl is None else int(ttl), "idempotency_key": key}
    body = {**order(to, payload, json, about, extra), "wait_ms": int(wait * 1000)}
    return Call("POST", path("push"), Push.of, body, wait)


def preview(
    to: Audience,
    payload: str | bytes | None,
    json: object,
    *,
    ttl: float | None,
    outcome: str | None,
    limit: int | None,
    cursor: str | None,
    extra: Raw | None,
) -> Call[Preview]:
    body = order(to, payload, json, {"ttl_s": None if ttl is None else int(ttl)}, extra)
    return Call("POST", path("push", "preview", outcome=outcome, limit=limit, cursor=cursor), Preview.of, body)


def page(read: Callable[[Raw], T]) -> Callable[[Any], Page[T]]:
    return lambda raw: Page([read(row) for row in raw["items"]], raw["next"])


def get_push(id: int, deliveries: bool) -> Call[Push]:
    return Call("GET", path("pushes", id, deliveries=deliveries), Push.of)


def pushes(limit: int, cursor: str | None) -> Call[Page[Push]]:
    return Call("GET", path("pushes", limit=limit, cursor=cursor), page(Push.of))


def deliveries(id: int, limit: int, cursor: str | None) -> Call[Page[Delivery]]:
    return Call("GET", path("pushes", id, "deliveries", limit=limit, cursor=cursor), page(Delivery.of))


def cancel_push(id: int) -> Call[None]:
    return Call("DELETE", path("pushes", id), lambda _: None)


def devices(
    where: str | None, app: int | None, online: bool | None, q: str | None, limit: int, cursor: str | None
) -> Call[Page[Device]]:
    address = path("devices", where=where, app=app, online=online, q=q, limit=limit, cursor=cursor)
    return Call("GET", address, page(Device.of))


def device(id: str) -> Call[Device]:
    return Call("GET", path("devices", id), Device.of)


def latest(device: str) -> Call[list[Point]]:
    return Call("GET", path("devices", device, "latest"), lambda raw: [Point.of(row) for row in raw["items"]])


def points(
    device: str, stream: str | None, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
) -> Call[Page[Point]]:
    address = path("devices", device, "points", stream=stream, from_=since, to=until, limit=limit, cursor=cursor)
    return Call("GET", address, page(Point.of))


def upload(device: str, values: Mapping[str, Value] | Sequence[Point]) -> Call[int]:
    if isinstance(values, Mapping):
        body: Mapping[str, object] | Sequence[object] = dict(values)
    else:
        body = [{"stream": point.stream, "value": point.value, "at": moment(point.at)} for point in values]
    return Call("POST", path("devices", device, "points"), lambda raw: int(raw["stored"]), body)


def twin(device: str) -> Call[Twin]:
    return Call("GET", path("devices", device, "twin"), Twin.of)


def desired(method: str, device: str, value: Mapping[str, object], version: int | None) -> Call[Twin]:
    return Call(method, path("devices", device, "twin", "desired", version=version), Twin.of, dict(value))


def twin_history(device: str, part: str | None, limit: int, cursor: str | None) -> Call[Page[TwinChange]]:
    return Call("GET", path("devices", device, "twin", "history", part=part, limit=limit, cursor=cursor), page(TwinChange.of))


def status() -> Call[dict[str, Any]]:
    return Call("GET", path("status"), dict)


def events(device: str | None) -> str:
    return path("events", device=device)


def only(push: Push) -> Delivery:
    """The delivery of a push to one device."""
    (delivery,) = push.deliveries
    return delivery


def read(call: Call[T], body: bytes) -> T:
    return call.read(json_.loads(body) if body else None)


Pages = Callable[[str | None], Call[Page[T]]]
"""The call for the page that a cursor names."""
