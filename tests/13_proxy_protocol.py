"""Behind a load balancer: the PROXY header, version 1 or 2, tells who the peer is; without one nobody comes in."""

import pytest

from harness import unique
from mqtt_wire import PING, PONG, connect

CONNACK = b"\x20\x02\x00\x00"
VERSION_1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n"
VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 4, 7, 0x5B])
HEALTH_CHECK = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from harness import Server

    settings = {"mqtt.proxy_protocol": "true", "espush.proxy_protocol": "true"}
    with Server(tmp_path_factory.mktemp("proxied") / "data", settings) as running:
        yield running


@pytest.mark.parametrize("header", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("together", [True, False])
def test_the_header_tells_where_a_device_is(server, header, together):
    device = server.device(id=unique("balanced"))
    packet = connect("x", device["id"], device["secret"])
    with server.line("mqtt") as line:
        if together:
            line.send(header + packet)
        else:
            for byte in header:
                line.send(bytes([byte]))
            line.send(packet)
        line.expect(CONNACK)
        server.until_online(device["id"])
        assert server.api("GET", f"/api/v1/devices/{device['id']}")["remote"] == "192.0.2.7:56324"


def test_the_balancer_itself_may_look_in(server):
    device = server.device()
    with server.line("mqtt") as line:
        line.send(HEALTH_CHECK + connect("x", device["id"], device["secret"])).expect(CONNACK)


@pytest.mark.parametrize("listener", ["mqtt", "espush"])
@pytest.mark.parametrize("first", [connect("x"), b"PROXY TCP4 here there 1 2\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PROXY " + b"x" * 200])
def test_without_a_good_header_nobody_comes_in(server, listener, first):
    with server.line(listener) as line:
        line.send(first).expect_end()


def test_the_log_says_what_to_change(server):
    with server.line("mqtt") as line:
        line.send(connect("x")).expect_end()
    assert "sent no PROXY header; send one (HAProxy: send-proxy-v2), or set proxy_protocol = false" in server.log()
