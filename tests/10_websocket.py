"""MQTT over WebSocket at /mqtt, on HTTP and HTTPS: packets split and joined across frames as the client likes,
pings answered, goodbyes returned; what is no upgrade gets an answer that names the way.
"""

import base64
import hashlib
import os
import ssl
import struct

import pytest

from harness import PATIENCE_S, PROGRAM, Line, Server, clean_environment, unique
from mqtt_wire import PING, PONG, connect, publish, subscribe

CONNACK = b"\x20\x02\x00\x00"
CONTINUATION, TEXT, BINARY, CLOSE, WS_PING, WS_PONG, FIN = 0, 1, 2, 8, 9, 10, 0x80


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    import subprocess

    data = tmp_path_factory.mktemp("secure") / "data"
    subprocess.run([str(PROGRAM), "tls", "self-signed", "--data", str(data)], check=True, timeout=PATIENCE_S, env=clean_environment())
    with Server(data, {"https.listen": "127.0.0.1:0"}) as running:
        yield running


def frame(payload, first=FIN | BINARY, masked=True):
    """A client's frame, written down independently of the program."""
    length = len(payload)
    head = bytes([first])
    mask_bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 65536:
        head += bytes([mask_bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class WebSocket(Line):
    """A WebSocket that expects bytes inside binary frames."""

    def __init__(self, server, listener="http", early=b"", **headers):
        super().__init__(server.ports[listener])
        if listener == "https":
            context = ssl.create_default_context(cafile=server.data / "tls" / "trust.pem")
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.inside = b""
        key = base64.b64encode(os.urandom(16)).decode()
        asked = {
            "Host": "localhost",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Protocol": "mqtt",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items() if value is not None)
        self.send(f"GET /mqtt HTTP/1.1\r\n{lines}\r\n".encode() + early)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        self.status = int(head.split()[1])
        self.head = head.decode().lower()
        if self.status == 101:
            accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            assert f"sec-websocket-accept: {accept.lower()}\r\n" in self.head

    def frame(self):
        """The next frame of the server: (first byte, payload)."""
        first, length = self.read(2)
        assert length < 128, "a server does not mask"
        if length == 126:
            (length,) = struct.unpack(">H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.read(8))
        return first, self.read(length)

    def expect_inside(self, wanted):
        while len(self.inside) < len(wanted):
            first, payload = self.frame()
            assert first == FIN | BINARY, f"wanted a binary frame, got {first:#x} {payload.hex(' ')}"
            self.inside += payload
        got, self.inside = self.inside[: len(wanted)], self.inside[len(wanted) :]
        assert got == wanted, f"\nwanted {wanted.hex(' ')}\ngot    {got.hex(' ')}"

    def say(self, packet):
        self.send(frame(packet))


@pytest.mark.parametrize("listener", ["http", "https"])
def test_a_device_in_a_websocket_hears_and_is_heard(secure, listener):
    """[MQTT 3.1.1: 6.0.0-4] [MQTT 5.0: 6.0.0-4]"""
    topic = unique("ws")
    lines = []
    for _ in range(6):
        device = secure.device()
        line = WebSocket(secure, listener)
        assert line.status == 101 and "sec-websocket-protocol: mqtt\r\n" in line.head
        line.say(connect("x", device["id"], device["secret"]) + subscribe(1, (topic, 0)) + PING)
        line.expect_inside(CONNACK + b"\x90\x03\x00\x01\x00" + PONG)
        lines.append((line, device))
    long = bytes(range(256)) * 400
    lines[0][0].say(publish(topic, long))
    for line, _ in lines:
        line.expect_inside(publish(topic, long))
    assert secure.api("GET", f"/api/v1/devices/{lines[0][1]['id']}")["protocol"] == "mqtt"
    for line, _ in lines:
        line.close()


def test_frames_and_packets_need_not_agree(secure):
    """[MQTT 3.1.1: 6.0.0-2] [MQTT 5.0: 6.0.0-2]"""
    device = secure.device()
    packet = connect("x", device["id"], device["secret"])
    line = WebSocket(secure, early=frame(packet[:5], BINARY))
    line.send(frame(packet[5:9], CONTINUATION))
    line.send(frame(b"are you there", FIN | WS_PING))
    assert line.frame() == (FIN | WS_PONG, b"are you there")
    for byte in frame(packet[9:] + PING[:1], FIN | CONTINUATION):
        line.send(bytes([byte]))
    line.expect_inside(CONNACK)
    line.send(frame(PING[1:]) + frame(b"") + frame(PING))
    line.expect_inside(PONG + PONG)
    line.close()


def test_a_goodbye_is_returned(secure):
    device = secure.device()
    line = WebSocket(secure)
    line.say(connect("x", device["id"], device["secret"]))
    line.expect_inside(CONNACK)
    line.send(frame(struct.pack(">H", 1000) + b"bye", FIN | CLOSE))
    assert line.frame() == (FIN | CLOSE, struct.pack(">H", 1000))
    line.expect_end()


@pytest.mark.parametrize(
    "broken, status",
    [
        (frame(b"hello", FIN | TEXT), 1003),
        (frame(b"hello", masked=False), 1002),
        (frame(b"hello", FIN | CONTINUATION), 1002),
        (frame(b"hello", FIN | 0x40 | BINARY), 1002),
        (bytes([FIN | BINARY, 0xFF]) + struct.pack(">Q", 1 << 40) + b"mask", 1009),
    ],
)
def test_a_broken_rule_is_told_in_the_goodbye(secure, broken, status):
    """[MQTT 3.1.1: 6.0.0-1] [MQTT 5.0: 6.0.0-1]"""
    line = WebSocket(secure)
    line.send(broken)
    assert line.frame() == (FIN | CLOSE, struct.pack(">H", status))
    line.expect_end()


def test_what_mqtt_refuses_is_said_before_the_goodbye(secure):
    device = secure.device()
    line = WebSocket(secure)
    line.say(connect("x", device["id"], "wrong"))
    first, payload = line.frame()
    assert (first, payload[:2]) == (FIN | BINARY, b"\x20\x02") and payload[3] != 0
    assert line.frame() == (FIN | CLOSE, struct.pack(">H", 1000))
    line.expect_end()


def test_who_does_not_read_the_pongs_is_not_waited_for(secure):
    """Pings without end, and nobody reads the answers: the line ends, the others notice nothing."""
    line = WebSocket(secure)
    flood = frame(bytes(125), FIN | WS_PING) * 500
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            line.send(flood)
    assert secure.request("GET", "/healthz")[0] == 200


def test_a_request_without_upgrade_is_told_the_way(secure):
    status, headers, body = secure.request("GET", "/mqtt", token=None)
    assert status == 426 and headers["Upgrade"] == "websocket" and b"ws://HOST:PORT/mqtt" in body
    assert secure.request("POST", "/mqtt", b"x", token=None)[0] == 426


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Protocol": "chat"}, 400),
        ({"Sec_WebSocket_Protocol": None}, 101),
        ({"Sec_WebSocket_Protocol": "mqttv3.1"}, 101),
    ],
)
def test_an_upgrade_is_agreed_or_refused(secure, headers, status):
    line = WebSocket(secure, **headers)
    assert line.status == status, line.head
    line.close()
