"""Bad input costs only the one who sent it: an answer in the protocol's own terms, the line closed if it must be, a
row for the owner; never the server, never another's line."""

import random
import select
import socket
import struct

import pytest

from harness import PATIENCE_S, Line, hx
from mqtt_wire import PING, PONG, Client, connect, packet, publish, subscribe, text


@pytest.fixture(autouse=True)
def others_do_not_notice(server):
    """Through every test here other devices keep their lines, one on each of the server's two shards."""
    with Client(server, server.device()) as even, Client(server, server.device()) as odd:
        yield
        for bystander in (even, odd):
            bystander.send(PING).expect(PONG)
    assert server.running()


MALFORMED_MQTT = {
    "no protocol name": packet(0x10, text("MQTX") + hx("04 02 00 3c 00 01 61")),
    "flags of CONNECT that must be 0": hx("11 0c 00 04 4d 51 54 54 04 02 00 3c 00 00"),
    "reserved connect flag": packet(0x10, text("MQTT") + hx("04 03 00 3c 00 00")),
    "something else first": PING,
    "a publish first": publish("a", "b"),
    "the length never ends": hx("10 ff ff ff ff ff"),
    "client id longer than the packet": packet(0x10, text("MQTT") + hx("04 02 00 3c ff ff 61")),
    "client id that is not UTF-8": packet(0x10, text("MQTT") + hx("04 02 00 3c") + text(b"\xc3\x28")),
    "a web browser": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS client": hx("16 03 01 02 00 01 00 01 fc 03 03"),
    "a registration that announces too much": packet(0x10, b"")[:1] + hx("ff ff 7f"),
}


@pytest.mark.parametrize("name", MALFORMED_MQTT)
def test_a_stranger_who_does_not_speak_mqtt_is_put_out(server, name):
    with server.line("mqtt") as stranger:
        stranger.send(MALFORMED_MQTT[name]).expect_end()


def test_a_level_that_we_do_not_speak_is_named(server):
    with server.line("mqtt") as stranger:
        stranger.send(packet(0x10, text("MQTT") + hx("06 02 00 3c 00 01 61"))).expect("20 02 00 01").expect_end()


MALFORMED_LATER = {
    "qos 3": hx("36 07 00 01 61 00 01 62 63"),
    "topic with a wildcard": publish("a/+", "x"),
    "empty topic": publish("", "x"),
    "topic that is not UTF-8": publish(b"\xff\xfe", "x"),
    "topic with NUL": publish("a\0b", "x"),
    "packet id 0": publish("a", "x", qos=1, number=0),
    "subscribe without filters": packet(0x82, b"\x00\x01"),
    "subscribe with wrong flags": packet(0x80, b"\x00\x01" + text("a") + b"\x00"),
    "subscribe at qos 3": subscribe(1, ("a", 3)),
    "filter with # in the middle": subscribe(1, ("a/#/b", 0)),
    "a second CONNECT": connect("again"),
    "a packet type that does not exist": hx("f0 00"),
    "a server's packet": hx("20 02 00 00"),
    "larger than any packet may be": b"\x30\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", MALFORMED_LATER)
def test_a_device_that_breaks_the_protocol_is_put_out_and_its_owner_told(server, name):
    device = server.device()
    with server.events(device["id"]) as events, Client(server, device) as client:
        client.send(MALFORMED_LATER[name])
        got = client.socket.recv(16)
        if name == "filter with # in the middle":
            assert got in (b"", hx("90 03 00 01 80"))  # refused or put out: the specification allows both
            return
        assert got == b"", got.hex(" ")
        fault = events.until("fault")
        assert fault["device"] == device["id"] and fault["why"]


MALFORMED_ESPUSH = {
    "a length below the header": hx("00 00 00 09 00 00 00 01 00 00"),
    "a length of nothing": bytes(10),
    "a length beyond every device's buffer": hx("00 00 10 81 00 00 00 01 00 00"),
    "the largest length": hx("ff ff ff ff 00 00 00 01 00 00"),
    "an upload before the registration": hx("00 00 00 17 00 00 00 03 00 06 00 00 57 6a 88 a4 77 64 2c 32 37 30 30"),
    "a registration of 51 bytes": hx("00 00 00 33 00 00 00 01 00 00") + bytes(41),
    "a web browser": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED_ESPUSH)
def test_a_stranger_who_does_not_speak_espush_is_put_out(server, name):
    with server.line("espush") as stranger:
        stranger.send(MALFORMED_ESPUSH[name]).expect_end()


def test_a_key_that_is_no_text_is_a_wrong_key(server):
    with server.line("espush") as stranger:
        stranger.send(hx("00 00 00 32 00 00 00 01 00 00 00 00 00 01") + b"\xff\xfe\x00\x01" * 8 + hx("00 81 02 2f"))
        stranger.expect("00 00 00 0b 00 00 00 01 00 01 01").expect_end()


def test_noise_on_every_port(server):
    """A few thousand bytes of nothing in particular, the same in every run."""
    noise = random.Random(20150530)
    for _ in range(40):
        for port in server.ports.values():
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
                try:
                    line.sendall(noise.randbytes(noise.randrange(1, 3000)))
                    line.shutdown(socket.SHUT_WR)
                    while line.recv(4096):
                        pass
                except (ConnectionResetError, BrokenPipeError):
                    pass


def test_who_says_nothing_and_who_says_it_slowly_is_put_out(server):
    """All have the same time to log in or to say what they want; a byte now and then does not stretch it. Each slow
    line here is fed a byte whenever a second passed without news from the server."""
    to_say = {
        server.line("mqtt"): connect("slow" * 50),
        server.line("espush"): bytes([0, 0, 0, 86]) + bytes(80),
        server.line("http"): b"GET /api/v1/devices HTTP/1.1\r\nHost: somewhere\r\nX: " + b"x" * 100,
        server.line("mqtt"): b"",
        server.line("espush"): b"",
        server.line("http"): b"",
    }
    open_lines = {line.socket: line for line in to_say}
    seconds = 0
    while open_lines:
        readable, _, _ = select.select(list(open_lines), [], [], 1)
        for ready in readable:
            try:
                last_words = ready.recv(4096)
            except ConnectionResetError:
                last_words = b""
            if last_words:
                assert last_words.startswith(b"HTTP/1.1 408"), last_words
            else:
                open_lines.pop(ready).close()
        if readable:
            continue
        seconds += 1
        assert seconds <= PATIENCE_S, f"{len(open_lines)} lines are still open"
        for line in open_lines.values():
            try:
                line.send(to_say[line][:1])
            except (ConnectionResetError, BrokenPipeError):
                pass
            to_say[line] = to_say[line][1:]


def test_http_that_makes_no_sense_is_answered(server):
    status, _, _ = server.request("POST", "/api/v1/push", b"{not json", headers={"Content-Type": "application/json"})
    assert status == 400
    assert server.request("POST", "/api/v1/push", b"x" * (600 * 1024), headers={"Content-Type": "application/json"})[0] == 413
    assert server.request("GET", "/api/v1/devices/%ff%fe")[0] in (400, 404)
    assert server.request("GET", "/api/v1/devices?limit=many")[0] == 400
    assert server.request("GET", "/api/v1/no-such-thing")[0] == 404
    assert server.request("BREW", "/api/v1/devices")[0] in (404, 405)
    assert server.request("GET", "/../../etc/passwd")[0] in (200, 400, 404)
    assert b"root:" not in server.request("GET", "/../../etc/passwd")[2]
    with server.line("http") as line:
        line.send(b"\x00\x01\x02\r\n\r\n")
        assert line.read(12) == b"HTTP/1.1 400"


def test_a_reader_who_does_not_read_is_not_waited_for(server):
    """A subscriber that stops reading loses messages of QoS 0; who publishes notices nothing. Then its line breaks
    with all that it never read."""
    deaf, speaker = Client(server, server.device()), Client(server, server.device())
    deaf.subscribe(("flood", 0))
    for _ in range(400):
        speaker.send(publish("flood", bytes(32 * 1024)))
    speaker.send(PING).expect(PONG)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deaf.close()
    speaker.close()


def test_many_lines_that_come_and_go(server):
    lines = [Line(server.ports["mqtt"]) for _ in range(300)]
    for line in lines[::2]:
        line.send(connect("x")[:7])
    for line in lines:
        line.close()
