"""micropython-umqtt.simple 1.3.4, the client that boards with MicroPython carry, unchanged as the package index has
it. It runs here under CPython: MicroPython's modules have the same content under other names, and only
its sockets, which are also files, need a thin cover. The programs are those that its users begin with."""

import importlib
import json
import socket
import sys
import types

import pytest

from harness import PATIENCE_S, ROOT, unique

UMQTT = ROOT / ".test-env" / "umqtt"


class MicroPythonSocket:
    """A socket as MicroPython has it: read and write beside recv and send."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)

    def connect(self, address):
        self.socket.connect(address)

    def write(self, data, length=None):
        data = data.encode() if isinstance(data, str) else bytes(data)
        self.socket.sendall(data[:length])

    def read(self, count):
        """All of `count` bytes, less at the end; None when nothing is there and it may not wait."""
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except BlockingIOError:
                return None
            if not more:
                break
            data += more
        return data

    def setblocking(self, flag):
        self.socket.settimeout(PATIENCE_S if flag else 0)

    def close(self):
        self.socket.close()


@pytest.fixture(scope="module")
def umqtt():
    """The module umqtt.simple."""
    assert UMQTT.exists(), "umqtt is missing; run ./test blackbox, which fetches it"
    cover = types.ModuleType("usocket")
    cover.socket = MicroPythonSocket
    cover.getaddrinfo = lambda host, port: socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    names = {"usocket": cover, "ustruct": importlib.import_module("struct"), "ubinascii": importlib.import_module("binascii")}
    sys.modules.update(names)
    sys.path.insert(0, str(UMQTT))
    yield importlib.import_module("umqtt.simple")
    sys.path.remove(str(UMQTT))
    for name in [*names, "umqtt", "umqtt.simple"]:
        sys.modules.pop(name, None)


@pytest.fixture
def board(umqtt, server):
    """Makes boards, each a device of its own; connected."""
    made = []

    def make(callback=None, device=None, **options):
        device = device or server.device()
        client = umqtt.MQTTClient(
            device["id"], "127.0.0.1", server.ports["mqtt"], user=device["id"], password=device["secret"], **options
        )
        client.set_callback(callback or (lambda topic, message: None))
        client.connect()
        made.append(client)
        return client

    yield make
    for client in made:
        client.sock.close()


def test_foo_topic_between_two_boards(board):
    """One publishes to foo_topic, the other prints what comes; by waiting, and by looking now and then."""
    heard = []
    listener = board(lambda topic, message: heard.append((topic, message)))
    listener.subscribe(b"foo_topic")
    speaker = board()
    speaker.publish(b"foo_topic", b"hello")
    listener.wait_msg()
    assert heard == [(b"foo_topic", b"hello")]
    speaker.publish(b"foo_topic", b"again", qos=1)
    while len(heard) < 2:
        listener.check_msg()
    assert heard[1] == (b"foo_topic", b"again")
    speaker.disconnect()


def test_led_on_off_toggle(board):
    """The button board of the examples: `led` takes on, off and toggle."""
    led = {"value": 0}

    def on_message(topic, message):
        assert topic == b"led"
        led["value"] = {b"on": 1, b"off": 0, b"toggle": 1 - led["value"]}[message]

    light, button = board(on_message), board()
    light.subscribe(b"led")
    for message, wanted in [(b"on", 1), (b"off", 0), (b"toggle", 1), (b"toggle", 0)]:
        button.publish(b"led", message)
        light.wait_msg()
        assert led["value"] == wanted


def test_adc_values_become_points(board, server):
    """The analogue input of the examples, published every 200 ms there and one after the other here: as a topic of
    the board's own it is a series that can be looked at."""
    device = server.device()
    meter = board(device=device)
    for value in (512, 513, 514):
        meter.publish(b"me/data/adc", str(value).encode(), qos=1)
    points = server.api("GET", f"/api/v1/devices/{device['id']}/points?stream=adc")["items"]
    assert [point["value"] for point in points] == [512, 513, 514]


def test_a_push_lights_the_board(board, server, background):
    device, heard = server.device(), []
    light = board(lambda topic, message: heard.append((topic, message)), device=device)
    light.subscribe(b"me/push", qos=1)
    pushed = background(server.push, device["id"], "toggle", wait_ms=30000)
    light.wait_msg()
    assert heard == [(b"me/push", b"toggle")]
    assert pushed.result()["state"] == "delivered", "umqtt acknowledges what it was given"


def test_a_board_follows_its_twin(board, server):
    """As docs/en/twin.md shows it: what was heard is reported as it came, with its version."""
    device = server.device()
    twin = f"/api/v1/devices/{device['id']}/twin"
    server.api("PATCH", f"{twin}/desired", {"led": "on"})
    heard = []

    def on_message(topic, body):
        assert topic == b"me/twin/desired"
        heard.append(json.loads(body))
        lamp.publish(b"me/twin/reported", body, qos=1)

    lamp = board(on_message, device=device)
    lamp.publish(b"me/twin/reported", json.dumps({"led": "off"}), qos=1)
    lamp.subscribe(b"me/twin/desired", qos=1)
    while not heard:
        lamp.wait_msg()
    shown = server.api("GET", twin)
    assert (shown["delta"], shown["reported"]["value"], shown["acknowledged"]) == ({}, {"led": "on"}, 1)
    server.api("PATCH", f"{twin}/desired", {"led": None, "every": 5})
    while len(heard) < 2:
        lamp.wait_msg()
    assert heard == [{"led": "on", "$version": 1}, {"led": None, "every": 5, "$version": 2}]
    assert server.api("GET", twin)["reported"]["value"] == {"every": 5}


def test_an_ask_is_answered(board, server, background):
    device = server.device()
    light = None

    def on_message(topic, message):
        light.publish(topic.replace(b"/ask/", b"/answer/"), b"it is " + message)

    light = board(on_message, device=device)
    light.subscribe(b"me/ask/+", qos=1)
    asked = background(server.push, device["id"], "on", ask=True, wait_ms=30000)
    light.wait_msg()
    assert asked.result()["answer"] == {"text": "it is on"}


def test_will_ping_and_retained(board):
    topic, heard = unique("wills").encode(), []
    heir = board(lambda *message: heard.append(message))
    heir.subscribe(topic)
    dying = board(keepalive=30)
    dying.disconnect()
    dying.set_last_will(topic, b"gone", retain=True, qos=1)
    dying.connect()
    dying.ping()
    dying.wait_msg()
    dying.sock.close()
    heir.wait_msg()
    assert heard == [(topic, b"gone")]
    late = board(lambda *message: heard.append(message))
    late.subscribe(topic)
    while len(heard) < 2:
        late.wait_msg()
    assert heard[1] == (topic, b"gone")


def test_who_is_not_let_in_sees_the_code(umqtt, server):
    stranger = umqtt.MQTTClient("umqtt_client", "127.0.0.1", server.ports["mqtt"])
    with pytest.raises(umqtt.MQTTException) as refused:
        stranger.connect()
    assert refused.value.args == (5,)
    stranger.sock.close()


def test_the_first_example_runs_without_credentials_on_an_open_broker(umqtt, fresh):
    server = fresh(settings={"auth.anonymous": "true"})
    heard = []
    listener = umqtt.MQTTClient("umqtt_listener", "127.0.0.1", server.ports["mqtt"])
    listener.set_callback(lambda *message: heard.append(message))
    listener.connect()
    listener.subscribe(b"foo_topic")
    speaker = umqtt.MQTTClient("umqtt_client", "127.0.0.1", server.ports["mqtt"])
    speaker.connect()
    speaker.publish(b"foo_topic", b"hello")
    listener.wait_msg()
    assert heard == [(b"foo_topic", b"hello")]
    speaker.disconnect()
    listener.disconnect()
