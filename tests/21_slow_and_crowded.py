"""Peers that read slowly get everything as they read; a server without files for new lines keeps those it has, does not
spin, and lets the others in when it has files again."""

import resource
import time

import pytest

from harness import PATIENCE_S, Server
from mqtt_wire import PING, PONG, Client, puback, publish

# More together than the buffers of both ends hold for a reader that does not read.
MESSAGES = 30
BYTES = 200_000


@pytest.mark.parametrize("shards", ["1", "2"])
def test_a_slow_reader_gets_everything_and_holds_up_nobody(tmp_path, shards):
    with Server(tmp_path / "data", {"limits.queue_bytes": "16777216", "shards": shards}) as server:
        with Client(server, server.device()) as slow, Client(server, server.device()) as quick:
            slow.subscribe("all/news")
            quick.subscribe("all/news")
            with Client(server, server.device()) as publisher:
                for number in range(1, MESSAGES + 1):
                    publisher.send(publish("all/news", bytes([number]) * BYTES, qos=1, number=number))
                    publisher.expect(puback(number))
                    topic, payload, *_ = quick.message()
                    assert (topic, len(payload), payload[0]) == ("all/news", BYTES, number)
            for number in range(1, MESSAGES + 1):
                topic, payload, *_ = slow.message()
                assert (topic, payload) == ("all/news", bytes([number]) * BYTES)
            # The line is as any other again.
            slow.send(PING).expect(PONG)


def test_without_files_those_inside_are_served_and_the_others_come_in_later(tmp_path):
    with Server(tmp_path / "data") as server:
        devices = [server.device() for _ in range(3)]
        inside = Client(server, devices[0])
        pid = server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # New files get the lowest numbers that are free, of which none lies below 3 and the limit now.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        outside = [Client(server, device, greet=False) for device in devices[1:]]
        deadline = time.monotonic() + PATIENCE_S
        while "raise the open-file limit" not in server.log() and time.monotonic() < deadline:
            inside.send(PING).expect(PONG)
        for _ in range(2000):
            inside.send(PING).expect(PONG)
        told = server.log().count("raise the open-file limit")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for line in outside:
            line.expect("20 02 00 00").send(PING).expect(PONG)
        assert 0 < told < 500, "twice a second and shard, not as fast as it can"
        for line in [inside, *outside]:
            line.goodbye()


def test_devices_that_use_up_the_files_leave_some_for_the_owner(tmp_path):
    with Server(tmp_path / "data", files=160) as server:
        assert any("room for about 120 devices" in line for line in server.stdout)
        device, inside, turned_away = server.device(), [], False
        while len(inside) < 160 and not turned_away:
            try:
                inside.append(Client(server, device, client=f"c{len(inside)}"))
            except (AssertionError, OSError):
                turned_away = True
        assert turned_away and 80 < len(inside) < 120, "a quarter is left, of which the program has some open"
        # The owner gets in, and finds out why.
        for _ in range(5):
            server.api("GET", "/api/v1/devices", status=200)
        assert "raise the open-file limit" in server.log()
        inside.pop().goodbye()
        # The door is looked at twice a second; who is turned away comes back.
        deadline, late = time.monotonic() + PATIENCE_S, None
        while late is None and time.monotonic() < deadline:
            try:
                late = Client(server, device, client="late")
            except (AssertionError, OSError):
                pass
        for line in [late, *inside]:
            line.send(PING).expect(PONG)
            line.close()
