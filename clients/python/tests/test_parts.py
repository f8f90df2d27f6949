"""The parts that need no server: events out of bytes, pauses, errors, addresses."""

from datetime import datetime, timedelta, timezone

import pytest

from espush import ALL, Event, Problem, Sent, Unreachable, WebhookError, verify_webhook
from espush._calls import NOTHING, RETRIES_MAX, RETRY_S_MAX, listen, order, path, push, retry_s, send
from espush._errors import problem
from espush._sse import Backoff, Parser

STREAM = (
    ': hello\n\nid: 7\nevent: message\ndata: {"text":\ndata: "灯\u2028"}\n\n'
    ": some events since Last-Event-ID are forgotten\n\n"
    "id:8\r\nevent:alarm\r\ndata:{}\r\n\r\n"
    'id: 9\n\nid: 10\nevent: alarm\ndata: {"unf'
).encode()


def test_events_are_whole_however_they_come() -> None:
    wanted = [
        Event("message", {"text": "灯\u2028"}, "7"),
        Event("gap", {"why": "some events since Last-Event-ID are forgotten"}, None),
        Event("alarm", {}, "8"),
    ]
    for size in (1, 3, 1000):
        parser = Parser()
        found = [event for at in range(0, len(STREAM), size) for event in parser.feed(STREAM[at : at + size])]
        assert found == wanted
        assert parser.last_id == "8", "what has not come whole is asked for again"


def test_pauses_grow_to_a_minute_and_end_with_success() -> None:
    backoff = Backoff()
    pauses = [backoff.pause_s() for _ in range(20)]
    for pause, whole in zip(pauses, [0.5, 1, 2, 4, 8, 16, 32, *[60] * 13], strict=True):
        assert whole / 2 <= pause <= whole
    backoff.stood()
    assert backoff.pause_s() <= 0.5


def test_too_many_requests_are_made_again_a_few_times_and_soon() -> None:
    assert [retry_s(429, "2", retries) for retries in range(RETRIES_MAX + 1)] == [2.0] * RETRIES_MAX + [None]
    assert retry_s(429, str(RETRY_S_MAX), 0) == RETRY_S_MAX
    for status, header in ((429, str(RETRY_S_MAX + 1)), (429, None), (429, "soon"), (503, "1"), (200, "1")):
        assert retry_s(status, header, 0) is None


def test_errors_are_what_the_server_says() -> None:
    told = problem(400, b'{"code": "bad_where", "detail": "no", "hint": "so", "position": 3, "status": 400}')
    assert isinstance(told, Problem)
    assert (told.status, told.code, told.position, str(told)) == (400, "bad_where", 3, "no (so)")
    for body in (b"<html>", b"[]", b"{}"):
        assert isinstance(problem(502, body), Unreachable)


def test_what_people_type_cannot_change_the_address() -> None:
    assert path("devices", "a/../b?c", limit=5, where='x & "y"', online=True, cursor=None) == (
        "/api/v1/devices/a%2F..%2Fb%3Fc?limit=5&where=x%20%26%20%22y%22&online=true"
    )
    at = datetime(2026, 11, 20, 17, 0, tzinfo=timezone(timedelta(hours=8)))
    assert path("p", from_=at) == "/api/v1/p?from=2026-11-20T09%3A00%3A00.000Z"


@pytest.mark.parametrize(
    ("to", "payload", "json", "wanted"),
    [
        ("lamp", "on", NOTHING, {"audience": {"device": "lamp"}, "text": "on"}),
        (ALL, b"\xff", NOTHING, {"audience": "all", "base64": "/w=="}),
        ({"tags": {"all": ["a"]}}, None, None, {"audience": {"tags": {"all": ["a"]}}, "json": None}),
    ],
)
def test_an_order_is_what_was_meant(to: object, payload: object, json: object, wanted: object) -> None:
    assert order(to, payload, json, {"ask": False}, None) == wanted  # type: ignore[arg-type]


def test_now_or_never_is_not_lost() -> None:
    call = push("lamp", "x", NOTHING, wait=0, ttl=0, key=None, extra={"new": 1})
    assert call.body == {"audience": {"device": "lamp"}, "text": "x", "ttl_s": 0, "wait_ms": 0, "new": 1}


def test_a_message_to_a_number_is_what_was_meant() -> None:
    call = send(4_000_000_000, b"\xff", NOTHING)
    assert (call.method, call.path, call.body) == ("POST", "/api/v1/send", {"to": 4_000_000_000, "base64": "/w=="})
    assert send("lamp", None, None).body == {"to": "lamp", "json": None}
    assert call.read({"from": 1, "to": 2, "state": "kept", "new": 0}) == Sent(1, 2, "kept")
    assert listen() == "/api/v1/events?addressed=true&events=false"


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"test": 2432232314}'
# The example of the Standard Webhooks specification's reference libraries.
HEADERS = {
    "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "Webhook-Timestamp": "1614265330",
    "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SIGNED = 1614265330.0


def test_a_webhook_is_believed_for_five_minutes() -> None:
    for late in (-300, 0, 300):
        assert verify_webhook(BODY, HEADERS, SECRET, now=SIGNED + late) == {"test": 2432232314}
    several = {**HEADERS, "Webhook-Signature": f"v1,AAAA v2,zzz {HEADERS['Webhook-Signature']} v1,灯"}
    assert verify_webhook(BODY.encode(), several, SECRET, now=SIGNED)
    for late in (-301, 301):
        with pytest.raises(WebhookError, match="too long ago"):
            verify_webhook(BODY, HEADERS, SECRET, now=SIGNED + late)


def test_a_webhook_that_was_changed_is_not_believed() -> None:
    changed: list[tuple[str, dict[str, str], str]] = [
        (BODY.replace("4", "5"), HEADERS, SECRET),
        (BODY, {**HEADERS, "Webhook-Id": "msg_2"}, SECRET),
        (BODY, {**HEADERS, "Webhook-Timestamp": "1614265331"}, SECRET),
        (BODY, {**HEADERS, "Webhook-Timestamp": "01614265330"}, SECRET),
        (BODY, {**HEADERS, "Webhook-Signature": ""}, SECRET),
        (BODY, HEADERS, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    ]
    for body, headers, secret in changed:
        with pytest.raises(WebhookError, match="no signature fits"):
            verify_webhook(body, headers, secret, now=SIGNED)
    for time in ("", "now", "-1614265330", "١٦١٤٢٦٥٣٣٠", "9" * 400):
        with pytest.raises(WebhookError, match="no time"):
            verify_webhook(BODY, {**HEADERS, "Webhook-Timestamp": time}, SECRET, now=SIGNED)
    with pytest.raises(WebhookError, match="webhook-id"):
        verify_webhook(BODY, {}, SECRET)
