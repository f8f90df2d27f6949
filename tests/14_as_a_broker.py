"""What one expects of a broker beside devices: its own figures under `$SYS`, shared subscriptions, limits that the
owner sets, an app's word on what its firmware can take."""

import time

import pytest

from harness import PATIENCE_S, TOKEN
from mqtt_wire import Client, connect, packet, puback, publish, subscribe


def watcher(server, client="watcher"):
    return Client(server, client=client, user="token", password=TOKEN)


def test_sys_tells_who_may_know_and_nobody_else(fresh):
    server = fresh(settings={"sys.interval_s": "1"})
    with watcher(server) as line:
        line.subscribe(("$SYS/broker/version", 0), number=1)
        topic, payload, _, _, retained = line.message()
        assert (topic, payload.startswith(b"espush version ")) == ("$SYS/broker/version", True)
        line.subscribe(("$SYS/broker/clients/connected", 0), number=2)
        while line.message()[1] != b"1":
            pass  # it is told again when it has changed
    with Client(server, server.device()) as line:
        line.send(subscribe(1, ("$SYS/#", 0))).expect(b"\x90\x03\x00\x01\x80")


def test_a_shared_subscription_gives_each_message_to_one(server):
    with watcher(server, "one") as one, watcher(server, "two") as two, Client(server, server.device()) as sender:
        for line in (one, two):
            line.subscribe("$share/workers/jobs/+")
        for number in range(4):
            sender.send(publish("jobs/paint", str(number), qos=1, number=number + 1)).expect(puback(number + 1))
        seen = [line.message()[1] for line in (one, two) for _ in range(2)]
        assert sorted(seen) == [b"0", b"1", b"2", b"3"]


def test_the_owner_sets_how_large_a_packet_may_be(fresh):
    server = fresh(settings={"limits.packet_bytes": "2048"})
    with Client(server, server.device()) as line:
        line.send(publish("t", "x" * 1900, qos=1, number=7)).expect(puback(7))
        line.send(publish("t", "x" * 3000, qos=1, number=8)).expect_end()
    assert "at most 2048 are taken here" in server.log()


def test_the_owner_sets_how_long_a_login_may_take(fresh):
    server = fresh(settings={"limits.login_s": "1"})
    server.line("mqtt").expect_end()
    assert "no CONNECT in time" in server.log()


def test_an_apps_word_on_its_firmware_is_heeded(server):
    app = server.app(settings={"mqtt.session_present": "off", "mqtt.packet_bytes_max": "64"})
    device = server.device(app)
    kept = {"client": "kept", "user": device["id"], "password": device["secret"], "clean": False}
    for _ in range(2):
        with Client(server, greet=False, **kept) as line:
            line.expect(b"\x20\x02\x00\x00")  # also when the session goes on
            line.subscribe("me/push")
    with server.events() as events, Client(server, **kept) as line:
        push = server.push(device["id"], text="x" * 100, wait_ms=3000)
        assert push["state"] == "refused" and "at most 64 bytes" in push["detail"], push
        assert "at most 64 bytes" in events.until("fault", device=device["id"])["why"]
        server.push(device["id"], text="short")
        assert line.message()[1] == b"short"


@pytest.mark.parametrize("policy, kept", [("drop-newest", b"0"), ("drop-oldest", b"9")])
def test_what_a_full_queue_does_is_the_owners_choice(fresh, policy, kept):
    server = fresh(settings={"limits.queue_messages": "1", "limits.queue_policy": policy})
    device, sender = server.device(), server.device()
    away = {"client": "away", "user": device["id"], "password": device["secret"], "clean": False}
    with Client(server, **away) as line:
        line.subscribe("t")
        line.goodbye()
    with Client(server, sender) as line:
        for number in range(10):
            line.send(publish("t", str(number), qos=1, number=number + 1)).expect(puback(number + 1))
    # Messages cross to the other shard on their own time: the session has seen all when nine were dropped.
    deadline = time.monotonic() + PATIENCE_S
    while b"\nespush_messages_dropped_total 9\n" not in server.request("GET", "/metrics")[2]:
        assert time.monotonic() < deadline, server.request("GET", "/metrics")
    with Client(server, greet=False, **away) as line:
        line.expect(b"\x20\x02\x01\x00")
        assert line.message()[1] == kept


def test_a_server_that_stops_tells_where_to_go(fresh):
    server = fresh(settings={"mqtt.go_to": "b.example:1883"})
    with server.line("mqtt") as line:
        hello = bytearray(connect(client="c", user="token", password=TOKEN))
        # MQTT 5.0: the level, and no properties.
        at = hello.index(b"MQTT\x04")
        hello[at + 4] = 5
        hello[at + 8 : at + 8] = b"\x00"
        hello[1] += 1
        line.send(bytes(hello))
        assert line.read(2)[0] == 0x20
        line.read(1 + 1)  # session present, reason
        line.read(line.read(1)[0])
        server.stop()
        reference = b"\x1c\x00\x0eb.example:1883"
        line.expect(packet(0xE0, b"\x9c" + bytes([len(reference)]) + reference))


def test_an_address_holds_as_many_connections_as_the_owner_lets_it(fresh):
    server = fresh(settings={"limits.connections_per_address": "2"})
    first, second = watcher(server, "first"), watcher(server, "second")
    server.line("mqtt").expect_end()
    server.line("espush").expect_end()
    # A WebSocket counts once it is one; HTTP goes on as ever.
    with server.line("http") as line:
        upgrade = {"Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt"}
        line.send(b"GET /mqtt HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in upgrade.items()).encode() + b"\r\n")
        head = line.read(12)
        assert head == b"HTTP/1.1 101"
        while not head.endswith(b"\r\n\r\n"):
            head += line.read(1)
        line.expect_end()
    assert "holds 2 connections already" in server.log() and "limits.connections_per_address" in server.log()
    while "espush_connections_refused_total 3" not in server.request("GET", "/metrics")[2].decode():
        pass  # the figures are as of the last half second
    first.goodbye()
    third = None
    while third is None:
        try:
            third = watcher(server, "third")
        except (AssertionError, ConnectionError):
            pass  # the server has not noticed yet that the first hung up
    server.line("mqtt").expect_end()
    for line in (second, third):
        line.close()
