"""Live events and pushes over one WebSocket, /api/v1/ws: what happens is told, a push is answered with its reference
and with the rights of the token, and a line that comes back gets what it missed."""

import base64
import datetime
import json
import os
import struct

from harness import TOKEN, Line, unique
from mqtt_wire import Client, puback

FIN, TEXT, BINARY, CLOSE, PING = 0x80, 1, 2, 8, 9


class Socket(Line):
    """A WebSocket of JSON texts."""

    def __init__(self, server, query="", token=TOKEN, **headers):
        super().__init__(server.ports["http"])
        asked = {
            "Host": "localhost",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
        self.send(f"GET /api/v1/ws{query} HTTP/1.1\r\n{lines}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        self.status = int(head.split()[1])

    def frame(self, kind, payload):
        mask = os.urandom(4)
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        self.send(bytes([FIN | kind]) + size + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)))

    def say(self, message):
        self.frame(TEXT, message.encode() if isinstance(message, str) else json.dumps(message).encode())

    def next_frame(self):
        first, length = self.read(2)
        if length == 126:
            (length,) = struct.unpack(">H", self.read(2))
        return first & 0x0F, self.read(length)

    def next(self, member):
        """The next message that has this member; all others are events, after the line's numbers."""
        while True:
            kind, payload = self.next_frame()
            if kind == PING:
                continue
            assert kind == TEXT, (kind, payload)
            message = json.loads(payload)
            if member in message:
                return message
            assert "event" in message or "hello" in message, message

    def until(self, event, **members):
        while True:
            message = self.next("event")
            if message["event"] == event and members.items() <= message["data"].items():
                return message

    def expect_close(self, code):
        kind, payload = self.next_frame()
        while kind in (PING, TEXT):
            kind, payload = self.next_frame()
        assert kind == CLOSE and struct.unpack(">H", payload[:2])[0] == code, payload
        return payload[2:].decode()


def test_a_push_is_answered_and_its_fate_is_told(server):
    device = server.device()
    with Client(server, device) as board, Socket(server, f"?device={device['id']}") as socket:
        assert socket.status == 101
        board.subscribe("me/push")
        audience = {"device": device["id"]}
        socket.say({"ref": 1, "push": {"audience": audience, "text": "on", "wait_ms": 60000}})
        _, payload, _, number, _ = board.message()
        assert payload == b"on"
        # The first waits for the device; who comes later need not wait for it.
        socket.say({"ref": {"any": "thing"}, "push": {"audience": {"device": unique("nobody")}, "text": "x"}})
        refused = socket.next("problem")
        assert refused["ref"] == {"any": "thing"} and refused["problem"]["code"] == "no_such_device"
        board.send(puback(number))
        answer = socket.next("push")
        assert answer["ref"] == 1 and answer["push"]["deliveries"][0]["state"] == "delivered"
        socket.say('{"push": 7}')
        assert socket.next("problem")["problem"]["code"] == "bad_field"
        socket.say("no json")
        assert socket.next("problem")["problem"]["code"] == "bad_json"
        socket.say({"ref": 2, "push": {"audience": audience, "text": "on"}})
        answer = socket.next("push")["push"]
        assert socket.until("delivery", push=answer["id"])["data"]["device"] == device["id"]


def test_who_comes_back_gets_what_he_missed(server):
    device = server.device()["id"]
    with Socket(server, f"?device={device}") as socket:
        server.api("POST", f"/api/v1/devices/{device}/points", {"n": 1})
        last = socket.until("points")["id"]
    server.api("POST", f"/api/v1/devices/{device}/points", {"n": 2})
    with Socket(server, f"?device={device}&after={last}") as socket:
        assert socket.until("points")["data"]["items"][0]["value"] == 2
    with Socket(server, "?after=1") as socket:
        assert "forgotten" in socket.next("gap")["gap"]


def test_who_may_open_it_and_who_may_push(server):
    device = server.device()["id"]
    viewer = server.api("POST", "/api/v1/tokens", {"name": unique("eyes"), "role": "viewer"})
    push = {"ref": 1, "push": {"audience": {"device": device}, "text": "x"}}
    with Socket(server, token=viewer["token"]) as socket:
        socket.say(push)
        assert socket.next("problem")["problem"]["code"] == "role_too_low"
        server.api("DELETE", f"/api/v1/tokens/{viewer['id']}")
        server.api("POST", f"/api/v1/devices/{device}/points", {"n": 1})
        assert "token" in socket.expect_close(1008)
    assert Socket(server, token=None).status == 401
    assert Socket(server, "?device=" + unique("nobody")).status == 404
    # A browser: its cookie suffices for its own pages only.
    _, headers, _ = server.request("POST", "/api/v1/session", {"token": TOKEN}, token=None, headers={"X-Espush": "1"})
    cookie = headers["Set-Cookie"].split(";")[0]
    for origin, status in [("http://localhost", 101), ("http://localhost.example.org", 403), (None, 403)]:
        headers = {"Cookie": cookie, **({"Origin": origin} if origin else {})}
        with Socket(server, token=None, **headers) as socket:
            assert socket.status == status, origin


def test_what_is_no_websocket_is_told_so(server):
    assert server.api("GET", "/api/v1/ws", status=426)["code"] == "not_a_websocket"
    with Socket(server) as socket:
        socket.frame(BINARY, b"x")
        socket.expect_close(1003)


def test_the_server_says_goodbye_when_it_stops(fresh):
    server = fresh()
    with Socket(server) as socket:
        assert socket.status == 101
        server.stop()
        assert "stopping" in socket.expect_close(1001)


def test_a_line_ends_when_its_token_runs_out(server):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    about = {"name": unique("brief"), "role": "operator", "scopes": ["events"], "expires": soon.isoformat()}
    socket = Socket(server, token=server.api("POST", "/api/v1/tokens", about)["token"])
    assert socket.status == 101
    socket.say({"ref": 1, "push": {"audience": "all", "text": "on"}})
    refused = socket.next("problem")
    assert refused["ref"] == 1 and refused["problem"]["code"] == "scope_missing", refused
    # It comes to its end although nothing happens.
    while (frame := socket.next_frame())[0] in (PING, TEXT):
        pass
    assert frame[0] == CLOSE and b"the token is not valid any more" in frame[1], frame
