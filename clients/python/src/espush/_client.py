"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

import httpx

from . import _calls as calls
from ._calls import NOTHING, ROWS, Audience, Call
from ._errors import Problem, TimedOut, Unreachable, problem
from ._models import Delivery, Device, Event, Page, Point, Preview, Push, Raw, Twin, TwinChange, Value
from ._sse import SILENCE_S, Backoff, Parser

T = TypeVar("T")


class Client:
    """A client of one espush server. May be used by several threads; `close` it, or use it with `with`."""

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 10.0, http: httpx.Client | None = None) -> None:
        """`timeout` is for each answer, beyond what a call is told to wait. `http` brings its own certificates or proxies."""
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._http = http or httpx.Client()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def push(
        self,
        to: Audience,
        payload: str | bytes | None = None,
        *,
        json: object = NOTHING,
        wait: float = 0,
        ttl: float | None = None,
        key: str | None = None,
        extra: Raw | None = None,
    ) -> Push:
        """Pushes to a device or an audience. With `wait`, comes back when the deliveries are through or rest, or after so
        many seconds. The same `key` is the same push. `extra` is for members that this version does not know."""
        return self._do(calls.push(to, payload, json, wait=wait, ttl=ttl, key=key, extra=extra))

    def ask(
        self,
        device: str,
        payload: str | bytes | None = None,
        *,
        json: object = NOTHING,
        wait: float = 10,
        ttl: float | None = None,
        key: str | None = None,
        extra: Raw | None = None,
    ) -> Delivery:
        """Pushes to one device and waits for its answer. The state `applied` has one; look at it."""
        return calls.only(self._do(calls.push(device, payload, json, wait=wait, ttl=ttl, key=key, extra=extra, ask=True)))

    def command(
        self,
        device: str,
        command: str,
        payload: str | bytes | None = None,
        *,
        wait: float = 10,
        ttl: float | None = None,
        key: str | None = None,
        extra: Raw | None = None,
    ) -> Delivery:
        """Tells the device's firmware to do something, such as `reboot`, and waits for its answer."""
        call = calls.push(device, payload, NOTHING, wait=wait, ttl=ttl, key=key, extra=extra, command=command)
        return calls.only(self._do(call))

    def preview(
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
        return self._do(call)

    def get_push(self, id: int, *, deliveries: bool = True) -> Push:
        """One push, with its first thousand deliveries unless told otherwise."""
        return self._do(calls.get_push(id, deliveries))

    def pushes(self) -> Iterator[Push]:
        """All pushes, newest first."""
        return self._all(lambda cursor: calls.pushes(100, cursor))

    def deliveries(self, id: int) -> Iterator[Delivery]:
        """All deliveries of a push."""
        return self._all(lambda cursor: calls.deliveries(id, ROWS, cursor))

    def cancel_push(self, id: int) -> None:
        """Takes back what is not acknowledged yet."""
        self._do(calls.cancel_push(id))

    def devices(
        self, where: str | None = None, *, app: int | None = None, online: bool | None = None, q: str | None = None
    ) -> Iterator[Device]:
        """All devices that a query chooses, page by page as they are looked at."""
        return self._all(lambda cursor: calls.devices(where, app, online, q, ROWS, cursor))

    def devices_page(
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
        return self._do(calls.devices(where, app, online, q, limit, cursor))

    def device(self, id: str) -> Device:
        """One device."""
        return self._do(calls.device(id))

    def latest(self, device: str) -> list[Point]:
        """The newest value of each stream."""
        return self._do(calls.latest(device))

    def points(
        self, device: str, stream: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Point]:
        """Points, oldest first, page by page as they are looked at."""
        return self._all(lambda cursor: calls.points(device, stream, since, until, ROWS, cursor))

    def upload(self, device: str, values: Mapping[str, Value] | Sequence[Point]) -> int:
        """Stores points; how many were stored."""
        return self._do(calls.upload(device, values))

    def twin(self, device: str) -> Twin:
        """What is wanted of a device, what it tells of itself, and what differs."""
        return self._do(calls.twin(device))

    def patch_desired(self, device: str, patch: Mapping[str, object], *, version: int | None = None) -> Twin:
        """Changes what is wanted of a device by a merge patch: `None` removes a member. With `version`, only if what is
        wanted still has that one; else `Problem` with the code `version_conflict`."""
        return self._do(calls.desired("PATCH", device, patch, version))

    def replace_desired(self, device: str, value: Mapping[str, object], *, version: int | None = None) -> Twin:
        """Puts another value in the place of what is wanted of a device."""
        return self._do(calls.desired("PUT", device, value, version))

    def twin_history(self, device: str, part: str | None = None) -> Iterator[TwinChange]:
        """All changes of a twin that are remembered, newest first; of one part, `desired` or `reported`, or of both."""
        return self._all(lambda cursor: calls.twin_history(device, part, ROWS, cursor))

    def status(self) -> dict[str, Any]:
        """How the server is."""
        return self._do(calls.status())

    def events(self, device: str | None = None, *, after: str | None = None) -> Iterator[Event]:
        """What happens, as it happens, without an end. A line that breaks is called again, from the last event on. Raises
        when the first call fails, and when the server refuses later (the token was removed, the device is gone)."""
        parser, backoff, stood = Parser(after), Backoff(), False
        while True:
            headers = {**self._headers, "Accept": "text/event-stream"}
            if parser.last_id:
                headers["Last-Event-ID"] = parser.last_id
            timeout = httpx.Timeout(self._timeout, read=SILENCE_S)
            try:
                address = self._url + calls.events(device)
                with self._http.stream("GET", address, headers=headers, timeout=timeout) as answer:
                    if answer.status_code != 200:
                        raise problem(answer.status_code, answer.read())
                    stood = True
                    parser = Parser(parser.last_id)
                    for chunk in answer.iter_bytes():
                        backoff.stood()
                        yield from parser.feed(chunk)
            except Problem as refusal:
                if not stood or (refusal.status < 500 and refusal.status != 429):
                    raise
            except (httpx.TransportError, Unreachable) as error:
                if not stood:
                    raise named(error) from error
            time.sleep(backoff.pause_s())

    def _do(self, call: Call[T]) -> T:
        address, timeout, retries = self._url + call.path, self._timeout + call.wait_s, 0
        while True:
            try:
                answer = self._http.request(call.method, address, json=call.body, headers=self._headers, timeout=timeout)
            except httpx.TransportError as error:
                raise named(error) from error
            pause = calls.retry_s(answer.status_code, answer.headers.get("Retry-After"), retries)
            if pause is None:
                break
            retries += 1
            time.sleep(pause)
        if not answer.is_success:
            raise problem(answer.status_code, answer.content)
        return calls.read(call, answer.content)

    def _all(self, page: calls.Pages[T]) -> Iterator[T]:
        cursor = None
        while True:
            rows = self._do(page(cursor))
            yield from rows.items
            cursor = rows.next
            if cursor is None:
                return


def named(error: Exception) -> Exception:
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"no answer in time: {error}")
    return error if isinstance(error, Unreachable) else Unreachable(f"the server cannot be reached: {error}")
