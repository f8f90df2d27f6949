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

from ._models import Delivery, Device, Page, Point, Preview, Push, Raw, Sent, Twin, TwinChange, Value

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
    csv: bytes | None = None
    """Goes instead of JSON."""
    plain: bool = False
    """The answer is text, and no JSON."""


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
    body: dict[str, object] = {"audience": audience, **content(payload, json)}
    body.update({name: value for name, value in about.items() if value is not None and value is not False})
    return {**body, **(extra or {})}


def content(payload: str | bytes | None, json: object) -> dict[str, object]:
    """What is to be carried."""
    body: dict[str, object] = {}
    if isinstance(payload, str):
        body["text"] = payload
    elif payload is not None:
        body["base64"] = base64.b64encode(payload).decode()
    if json is not NOTHING:
        body["json"] = json
    return body


def send(to: int | str, payload: str | bytes | None, json: object) -> Call[Sent]:
    return Call("POST", path("send"), Sent.of, {"to": to, **content(payload, json)})


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
    collapse: str | None = None,
    per_second: int | None = None,
    priority: str | None = None,
    at: datetime | None = None,
) -> Call[Push]:
    about = {
        "ask": ask,
        "command": command,
        "ttl_s": None if ttl is None else int(ttl),
        "idempotency_key": key,
        "collapse": collapse,
        "per_second": per_second,
        "priority": priority,
        "at": moment(at) if at else None,
    }
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


def resend(id: int, states: Sequence[str] | None, *, wait: float, ttl: float | None, key: str | None) -> Call[Push]:
    about = {"states": list(states) if states else None, "ttl_s": None if ttl is None else int(ttl), "idempotency_key": key}
    body = {**given(about), "wait_ms": int(wait * 1000)}
    return Call("POST", path("pushes", id, "resend"), Push.of, body, wait)


def given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def nothing(_: Any) -> None:
    return None


def rows(raw: Any) -> list[dict[str, Any]]:
    return list(raw["items"])


def create_device(app: int, id: str | None, about: Mapping[str, object]) -> Call[dict[str, Any]]:
    return Call("POST", path("devices"), dict, {"app": app, **given({"id": id, **about})})


def edit_device(id: str, about: Mapping[str, object]) -> Call[Device]:
    return Call("PATCH", path("devices", id), Device.of, given(about))


def delete_device(id: str) -> Call[None]:
    return Call("DELETE", path("devices", id), nothing)


def new_secret(id: str, overlap: float) -> Call[dict[str, Any]]:
    return Call("POST", path("devices", id, "secret"), dict, {"overlap_s": int(overlap)})


def groups() -> Call[list[dict[str, Any]]]:
    return Call("GET", path("groups"), rows)


def create_group(name: str, where: str) -> Call[dict[str, Any]]:
    return Call("POST", path("groups"), dict, {"name": name, "where": where})


def edit_group(name: str, where: str | None, new_name: str | None) -> Call[dict[str, Any]]:
    return Call("PATCH", path("groups", name), dict, given({"where": where, "name": new_name}))


def delete_group(name: str) -> Call[None]:
    return Call("DELETE", path("groups", name), nothing)


def schedules(cursor: str | None) -> Call[Page[dict[str, Any]]]:
    return Call("GET", path("schedules", limit=100, cursor=cursor), page(dict))


def schedule_runs(id: int, cursor: str | None) -> Call[Page[dict[str, Any]]]:
    return Call("GET", path("schedules", id, "runs", limit=ROWS, cursor=cursor), page(dict))


def create_schedule(name: str, push: Raw, when: Raw, grace: float | None) -> Call[dict[str, Any]]:
    body = {"name": name, "push": dict(push), "when": dict(when), **given({"grace_s": None if grace is None else int(grace)})}
    return Call("POST", path("schedules"), dict, body)


def edit_schedule(id: int, about: Mapping[str, object]) -> Call[dict[str, Any]]:
    return Call("PATCH", path("schedules", id), dict, given(about))


def delete_schedule(id: int) -> Call[None]:
    return Call("DELETE", path("schedules", id), nothing)


def import_devices(csv: str | bytes, mode: str, dry_run: bool) -> Call[list[dict[str, Any]]]:
    def lines(text: Any) -> list[dict[str, Any]]:
        return [json_.loads(line) for line in str(text).splitlines()]

    file = csv.encode() if isinstance(csv, str) else csv
    address = path("devices", "import", mode=mode, dry_run=dry_run)
    return Call("POST", address, lines, wait_s=600.0, csv=file, plain=True)


def export_devices(where: str | None, app: int | None, group: str | None) -> Call[str]:
    return Call("GET", path("devices", "export", where=where, app=app, group=group), str, wait_s=600.0, plain=True)


def audit(
    who: str | None,
    target: str | None,
    call: str | None,
    failed: bool | None,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
) -> Call[Page[dict[str, Any]]]:
    wanted = path("audit", who=who, target=target, call=call, failed=failed, from_=since, to=until, limit=ROWS, cursor=cursor)
    return Call("GET", wanted, page(dict))


def knocks() -> Call[list[dict[str, Any]]]:
    return Call("GET", path("knocks"), rows)


def adopt(device: str) -> Call[Device]:
    return Call("POST", path("knocks", "adopt"), Device.of, {"device": device})


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


def listen() -> str:
    return path("events", addressed=True, events=False)


def only(push: Push) -> Delivery:
    """The delivery of a push to one device."""
    (delivery,) = push.deliveries
    return delivery


def read(call: Call[T], body: bytes) -> T:
    if call.plain:
        return call.read(body.decode())
    return call.read(json_.loads(body) if body else None)


Pages = Callable[[str | None], Call[Page[T]]]
"""The call for the page that a cursor names."""
