"""The client for asyncio: the same methods, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

import httpx

from . import _calls as calls
from ._calls import NOTHING, ROWS, Audience, Call
from ._client import named
from ._errors import Problem, Unreachable, problem
from ._models import Delivery, Device, Event, Page, Point, Preview, Push, Raw, Sent, Twin, TwinChange, Value
from ._sse import SILENCE_S, Backoff, Parser

T = TypeVar("T")


class AsyncClient:
    """A client of one espush server. `close` it, or use it with `async with`."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = 10.0, http: httpx.AsyncClient | None = None
    ) -> None:
        """`timeout` is for each answer, beyond what a call is told to wait. `http` brings its own certificates or proxies."""
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._http = http or httpx.AsyncClient()

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def push(
        self,
        to: Audience,
        payload: str | bytes | None = None,
        *,
        json: object = NOTHING,
        wait: float = 0,
        ttl: float | None = None,
        key: str | None = None,
        collapse: str | None = None,
        per_second: int | None = None,
        priority: str | None = None,
        at: datetime | None = None,
        extra: Raw | None = None,
    ) -> Push:
        """Pushes to a device or an audience. With `wait`, comes back when the deliveries are through or rest, or after so
        many seconds. The same `key` is the same push. A newer push takes the place of one that waits with the same
        `collapse`. `per_second` is the most devices a second, `priority` is `high`, `normal` or `low`, `at` when it begins.
        `extra` is for members that this version does not know."""
        about: dict[str, Any] = {"collapse": collapse, "per_second": per_second, "priority": priority, "at": at}
        return await self._do(calls.push(to, payload, json, wait=wait, ttl=ttl, key=key, extra=extra, **about))

    async def ask(
        self,
        device: str,
        payload: str | bytes | None = None,
        *,
        json: object = NOTHING,
        wait: float = 10,
        ttl: float | None = None,
        key: str | None = None,
        priority: str | None = None,
        extra: Raw | None = None,
    ) -> Delivery:
        """Pushes to one device and waits for its answer. The state `applied` has one; look at it."""
        return calls.only(
            await self._do(
                calls.push(device, payload, json, wait=wait, ttl=ttl, key=key, priority=priority, extra=extra, ask=True)
            )
        )

    async def command(
        self,
        device: str,
        command: str,
        payload: str | bytes | None = None,
        *,
        wait: float = 10,
        ttl: float | None = None,
        key: str | None = None,
        priority: str | None = None,
        extra: Raw | None = None,
    ) -> Delivery:
        """Tells the device's firmware to do something, such as `reboot`, and waits for its answer."""
        call = calls.push(device, payload, NOTHING, wait=wait, ttl=ttl, key=key, priority=priority, extra=extra, command=command)
        return calls.only(await self._do(call))

    async def preview(
        self,
        to: Audience,
        payload: str | bytes | None = None,
        *,
        json: object = NOTHING,
        ttl: float | None = None,
        outcome: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        extra: Raw | None = None,
    ) -> Preview:
        """What a push would do. Nothing is pushed."""
        call = calls.preview(to, payload, json, ttl=ttl, outcome=outcome, limit=limit, cursor=cursor, extra=extra)
        return await self._do(call)

    async def send(self, to: int | str, payload: str | bytes | None = None, *, json: object = NOTHING) -> Sent:
        """Writes to a number, whoever has it, or to a device by its id. Nothing waits for one who is away: then it raises."""
        return await self._do(calls.send(to, payload, json))

    async def get_push(self, id: int, *, deliveries: bool = True) -> Push:
        """One push, with its first thousand deliveries unless told otherwise."""
        return await self._do(calls.get_push(id, deliveries))

    def pushes(self) -> AsyncIterator[Push]:
        """All pushes, newest first."""
        return self._all(lambda cursor: calls.pushes(100, cursor))

    def deliveries(self, id: int) -> AsyncIterator[Delivery]:
        """All deliveries of a push."""
        return self._all(lambda cursor: calls.deliveries(id, ROWS, cursor))

    async def cancel_push(self, id: int) -> None:
        """Takes back what is not acknowledged yet."""
        await self._do(calls.cancel_push(id))

    async def resend(
        self,
        id: int,
        *,
        states: Sequence[str] | None = None,
        wait: float = 0,
        ttl: float | None = None,
        key: str | None = None,
    ) -> Push:
        """Sends a push once more, to the devices where it failed, expired or was refused, or is in one of `states`."""
        return await self._do(calls.resend(id, states, wait=wait, ttl=ttl, key=key))

    async def create_device(self, app: int, id: str | None = None, **about: Any) -> dict[str, Any]:
        """Registers a device; with its `secret`, which is shown this once. `about` is `name`, `alias`, `tags`, `meta`, `open`,
        `secret`."""
        return await self._do(calls.create_device(app, id, about))

    async def edit_device(self, id: str, **about: Any) -> Device:
        """Changes what is given: `name`, `alias`, `tags`, `meta` (what is `None` in it is struck out), `open`, `blocked`."""
        return await self._do(calls.edit_device(id, about))

    async def delete_device(self, id: str) -> None:
        """Removes a device and everything kept for it."""
        await self._do(calls.delete_device(id))

    async def new_secret(self, id: str, *, overlap: float = 0) -> dict[str, Any]:
        """Gives a device a new `secret`, shown this once. The old one ends now, or after `overlap` seconds."""
        return await self._do(calls.new_secret(id, overlap))

    async def import_devices(self, csv: str | bytes, *, mode: str = "upsert", dry_run: bool = False) -> list[dict[str, Any]]:
        """Registers and changes devices from a file. What became of its rows; `done` stands last."""
        return await self._do(calls.import_devices(csv, mode, dry_run))

    async def export_devices(self, where: str | None = None, *, app: int | None = None, group: str | None = None) -> str:
        """Devices as CSV."""
        return await self._do(calls.export_devices(where, app, group))

    async def groups(self) -> list[dict[str, Any]]:
        """All groups."""
        return await self._do(calls.groups())

    async def create_group(self, name: str, where: str) -> dict[str, Any]:
        """Gives a query a name."""
        return await self._do(calls.create_group(name, where))

    async def edit_group(self, name: str, *, where: str | None = None, new_name: str | None = None) -> dict[str, Any]:
        """Another query, or another name."""
        return await self._do(calls.edit_group(name, where, new_name))

    async def delete_group(self, name: str) -> None:
        """Removes a group that neither another nor a schedule names."""
        await self._do(calls.delete_group(name))

    def schedules(self) -> AsyncIterator[dict[str, Any]]:
        """All schedules, each with its next and its last run."""
        return self._all(calls.schedules)

    def schedule_runs(self, id: int) -> AsyncIterator[dict[str, Any]]:
        """What became of each moment of a schedule, newest first."""
        return self._all(lambda cursor: calls.schedule_runs(id, cursor))

    async def create_schedule(self, name: str, push: Raw, when: Raw, *, grace: float | None = None) -> dict[str, Any]:
        """Pushes again and again. `push` is the body of a push, `when` such as `{"daily": "22:00", "time_zone": "UTC"}`."""
        return await self._do(calls.create_schedule(name, push, when, grace))

    async def edit_schedule(self, id: int, **change: Any) -> dict[str, Any]:
        """Changes what is given: `name`, `paused`, `push`, `when`, `grace_s`."""
        return await self._do(calls.edit_schedule(id, change))

    async def delete_schedule(self, id: int) -> None:
        """Removes a schedule with its log. Its pushes stay."""
        await self._do(calls.delete_schedule(id))

    def audit(
        self,
        *,
        who: str | None = None,
        target: str | None = None,
        call: str | None = None,
        failed: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Who changed what, newest first. Only for owners."""
        return self._all(lambda cursor: calls.audit(who, target, call, failed, since, until, cursor))

    async def knocks(self) -> list[dict[str, Any]]:
        """Logins that were refused, newest first."""
        return await self._do(calls.knocks())

    async def adopt(self, device: str) -> Device:
        """Registers one that knocked with the key of an app that takes no new devices."""
        return await self._do(calls.adopt(device))

    def devices(
        self, where: str | None = None, *, app: int | None = None, online: bool | None = None, q: str | None = None
    ) -> AsyncIterator[Device]:
        """All devices that a query chooses, page by page as they are looked at."""
        return self._all(lambda cursor: calls.devices(where, app, online, q, ROWS, cursor))

    async def devices_page(
        self,
        where: str | None = None,
        *,
        app: int | None = None,
        online: bool | None = None,
        q: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Device]:
        """One page of them."""
        return await self._do(calls.devices(where, app, online, q, limit, cursor))

    async def device(self, id: str) -> Device:
        """One device."""
        return await self._do(calls.device(id))

    async def latest(self, device: str) -> list[Point]:
        """The newest value of each stream."""
        return await self._do(calls.latest(device))

    def points(
        self, device: str, stream: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Point]:
        """Points, oldest first, page by page as they are looked at."""
        return self._all(lambda cursor: calls.points(device, stream, since, until, ROWS, cursor))

    async def upload(self, device: str, values: Mapping[str, Value] | Sequence[Point]) -> int:
        """Stores points; how many were stored."""
        return await self._do(calls.upload(device, values))

    async def twin(self, device: str) -> Twin:
        """What is wanted of a device, what it tells of itself, and what differs."""
        return await self._do(calls.twin(device))

    async def patch_desired(self, device: str, patch: Mapping[str, object], *, version: int | None = None) -> Twin:
        """Changes what is wanted of a device by a merge patch: `None` removes a member. With `version`, only if what is
        wanted still has that one; else `Problem` with the code `version_conflict`."""
        return await self._do(calls.desired("PATCH", device, patch, version))

    async def replace_desired(self, device: str, value: Mapping[str, object], *, version: int | None = None) -> Twin:
        """Puts another value in the place of what is wanted of a device."""
        return await self._do(calls.desired("PUT", device, value, version))

    def twin_history(self, device: str, part: str | None = None) -> AsyncIterator[TwinChange]:
        """All changes of a twin that are remembered, newest first; of one part, `desired` or `reported`, or of both."""
        return self._all(lambda cursor: calls.twin_history(device, part, ROWS, cursor))

    async def status(self) -> dict[str, Any]:
        """How the server is."""
        return await self._do(calls.status())

    def listen(self) -> AsyncIterator[Event]:
        """What is written to this client's number, without an end. First `hello` tells the number, and again whenever a line
        that broke stands anew (what was written meanwhile is lost); then each message is an event `addressed`."""
        return self._follow(calls.listen(), None)

    def events(self, device: str | None = None, *, after: str | None = None) -> AsyncIterator[Event]:
        """What happens, as it happens, without an end. A line that breaks is called again, from the last event on. Raises
        when the first call fails, and when the server refuses later (the token was removed, the device is gone)."""
        return self._follow(calls.events(device), after)

    async def _follow(self, path: str, after: str | None) -> AsyncIterator[Event]:
        parser, backoff, stood = Parser(after), Backoff(), False
        while True:
            headers = {**self._headers, "Accept": "text/event-stream"}
            if parser.last_id:
                headers["Last-Event-ID"] = parser.last_id
            timeout = httpx.Timeout(self._timeout, read=SILENCE_S)
            try:
                address = self._url + path
                async with self._http.stream("GET", address, headers=headers, timeout=timeout) as answer:
                    if answer.status_code != 200:
                        raise problem(answer.status_code, await answer.aread())
                    stood = True
                    parser = Parser(parser.last_id)
                    async for chunk in answer.aiter_bytes():
                        backoff.stood()
                        for event in parser.feed(chunk):
                            yield event
            except Problem as refusal:
                if not stood or (refusal.status < 500 and refusal.status != 429):
                    raise
            except (httpx.TransportError, Unreachable) as error:
                if not stood:
                    raise named(error) from error
            await asyncio.sleep(backoff.pause_s())

    async def _do(self, call: Call[T]) -> T:
        address, timeout, retries = self._url + call.path, self._timeout + call.wait_s, 0
        headers = {**self._headers, "Content-Type": "text/csv"} if call.csv is not None else self._headers
        while True:
            try:
                answer = await self._http.request(
                    call.method, address, content=call.csv, json=call.body, headers=headers, timeout=timeout
                )
            except httpx.TransportError as error:
                raise named(error) from error
            pause = calls.retry_s(answer.status_code, answer.headers.get("Retry-After"), retries)
            if pause is None:
                break
            retries += 1
            await asyncio.sleep(pause)
        if not answer.is_success:
            raise problem(answer.status_code, answer.content)
        return calls.read(call, answer.content)

    async def _all(self, page: calls.Pages[T]) -> AsyncIterator[T]:
        cursor = None
        while True:
            rows = await self._do(page(cursor))
            for row in rows.items:
                yield row
            cursor = rows.next
            if cursor is None:
                return
