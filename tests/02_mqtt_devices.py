"""A device speaks MQTT 3.1.1: it logs in with its secret or its app's key, uses free topics with other devices,
its own space as `me/…`, and nothing of anyone else's. What it is told is MQTT's own."""

import pytest

from harness import unique
from mqtt_wire import GOODBYE, PING, PONG, Client, connect, packet, puback, pubcomp, publish, pubrec, pubrel, subscribe, unsubscribe

GOOD = b"\x20\x02\x00\x00"


def test_a_device_logs_in_with_id_and_secret(server):
    device = server.device()
    with server.events(device["id"]) as events:
        with Client(server, device) as client:
            online = events.until("presence", online=True)
            assert (online["device"], online["protocol"]) == (device["id"], "mqtt")
            assert server.api("GET", f"/api/v1/devices/{device['id']}")["online"] is True
            client.send(PING).expect(PONG)
            client.goodbye()
        events.until("presence", online=False)
    assert server.api("GET", f"/api/v1/devices/{device['id']}")["online"] is False


@pytest.mark.parametrize(
    "options, code, reason",
    [
        ({"user": "nobody-here", "password": "x"}, 4, "unknown device id"),
        ({"user": "999999", "password": "0" * 32, "client": "chip"}, 4, "unknown app id"),
        ({"client": "anonymous"}, 5, "no credentials"),
    ],
)
def test_who_may_not_come_in_is_told_and_shown_as_a_knock(server, options, code, reason):
    with server.events() as events:
        with Client(server, greet=False, **options) as client:
            client.expect(bytes([0x20, 0x02, 0x00, code])).expect_end()
        knock = events.until("knock")
        assert knock["protocol"] == "mqtt" and reason in knock["reason"], knock
    assert reason in server.api("GET", "/api/v1/knocks")["items"][0]["reason"]


def test_a_wrong_secret_is_refused_and_never_shown(server):
    device = server.device()
    with Client(server, greet=False, user=device["id"], password="wrong-secret-xyz") as client:
        client.expect(b"\x20\x02\x00\x04").expect_end()
    assert "wrong-secret-xyz" not in str(server.api("GET", "/api/v1/knocks")) + server.log()


def test_a_new_chip_registers_itself_where_the_app_is_open(server):
    app = server.app(open=True)
    chip = {"client": "a1b2c3", "user": str(app["id"]), "password": app["key"]}
    with Client(server, **chip):
        server.until_online(f"{app['id']}-a1b2c3")
        assert server.api("GET", f"/api/v1/devices/{app['id']}-a1b2c3")["app"] == app["id"]
    with Client(server, **chip):
        pass  # and finds in again
    closed = server.app(open=False)
    with Client(server, greet=False, client="a1b2c3", user=str(closed["id"]), password=closed["key"]) as client:
        client.expect(b"\x20\x02\x00\x05").expect_end()


def test_devices_of_one_owner_talk_on_free_topics_at_every_qos(server):
    topic = unique("room/temperature")
    with Client(server, server.device()) as listener, Client(server, server.device()) as speaker:
        listener.subscribe((topic, 2))
        speaker.send(publish(topic, "zero"))
        assert listener.message() == (topic, b"zero", 0, None, False)
        speaker.send(publish(topic, "one", qos=1, number=7)).expect(puback(7))
        _, payload, qos, number, _ = listener.message()
        assert (payload, qos) == (b"one", 1)
        listener.send(puback(number))
        speaker.send(publish(topic, "two", qos=2, number=8)).expect(pubrec(8)).send(pubrel(8)).expect(pubcomp(8))
        _, payload, qos, number, _ = listener.message()
        assert (payload, qos) == (b"two", 2)
        listener.send(pubrec(number)).expect(pubrel(number)).send(pubcomp(number))
        listener.send(unsubscribe(9, topic)).expect(packet(0xB0, b"\x00\x09"))
        speaker.send(publish(topic, "gone"))
        listener.send(PING).expect(PONG)


def test_a_retained_message_waits_for_who_comes_later(server):
    topic, passed = unique("state/door"), unique("passed")
    with Client(server, server.device()) as speaker, Client(server, server.device()) as late:
        late.subscribe((passed, 0))
        speaker.send(publish(topic, "open", qos=1, number=1, retain=True)).expect(puback(1))
        # Later is after the message has passed everywhere, not while it is on its way to the other shard.
        speaker.send(publish(passed, "it"))
        assert late.message()[0] == passed
        late.subscribe((topic, 0))
        assert late.message() == (topic, b"open", 0, None, True)
        speaker.send(publish(topic, "shut", qos=1, number=2, retain=True)).expect(puback(2))
        assert late.message() == (topic, b"shut", 0, None, False)
        speaker.send(publish(topic, b"", qos=1, number=3, retain=True)).expect(puback(3))
        assert late.message() == (topic, b"", 0, None, False)
        with Client(server, server.device()) as later:
            later.subscribe((topic, 0))
            later.send(PING).expect(PONG)


def test_the_will_is_published_when_the_line_breaks_and_not_after_a_goodbye(server):
    topic = unique("wills")
    with Client(server, server.device()) as heir:
        heir.subscribe((topic, 0))
        polite = Client(server, server.device(), will=(topic, "polite", 0, False))
        polite.goodbye()
        broken = Client(server, server.device(), will=(topic, "broken", 0, False))
        broken.close()
        assert heir.message()[1] == b"broken"


def test_a_session_that_was_asked_for_keeps_what_came_meanwhile(server):
    topic, device = unique("news"), server.device()
    with Client(server, device, clean=False) as client:
        client.subscribe((topic, 1))
        client.goodbye()
    with Client(server, server.device()) as speaker:
        for number in (1, 2, 3):
            speaker.send(publish(topic, str(number), qos=1, number=number)).expect(puback(number))
    with Client(server, device, clean=False, greet=False) as client:
        client.expect(b"\x20\x02\x01\x00")
        for wanted in (b"1", b"2", b"3"):
            _, payload, qos, number, _ = client.message()
            assert (payload, qos) == (wanted, 1)
            client.send(puback(number))
    with Client(server, device, clean=True) as client:
        client.send(PING).expect(PONG)


def test_the_same_client_id_takes_the_line_over(server):
    device = server.device()
    with Client(server, device) as old, Client(server, device) as new:
        old.expect_end()
        new.send(PING).expect(PONG)
        server.until_online(device["id"])


def test_me_is_the_device_itself_and_dev_is_its_full_name(server):
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/push")
        server.push(device["id"], "hello")
        topic, payload, qos, number, _ = client.message()
        assert (topic, payload, qos) == ("me/push", b"hello", 1)
        client.send(puback(number))
        client.send(unsubscribe(2, "me/push")).expect(packet(0xB0, b"\x00\x02"))
        client.subscribe(f"dev/{device['id']}/push", number=3)
        server.push(device["id"], "again")
        topic, payload, _, number, _ = client.message()
        assert (topic, payload) == (f"dev/{device['id']}/push", b"again")
        client.send(puback(number))


def test_what_belongs_to_others_is_out_of_reach(server):
    mine, other = server.device(), server.device()
    with Client(server, mine) as client, Client(server, other) as neighbour:
        for name in (f"dev/{other['id']}/push", "dev/+/data", "$SYS/#"):
            client.send(subscribe(5, (name, 1))).expect(packet(0x90, b"\x00\x05\x80"))
        client.subscribe(("#", 0), number=6)
        neighbour.send(publish("me/data", '{"t":1}'))
        neighbour.send(publish("me/log", "private"))
        free = unique("free")
        neighbour.send(publish(free, "public"))
        assert client.message()[:2] == (free, b"public"), "# reaches free topics only"


def test_the_time_is_told_to_who_asks(server):
    with Client(server, server.device()) as client:
        client.subscribe(("me/time", 0))
        client.send(publish("me/time", "?"))
        topic, payload, *_ = client.message()
        assert topic == "me/time" and int(payload) > 1_700_000_000_000


def test_an_open_broker_lets_anyone_use_free_topics_only(fresh):
    server = fresh(settings={"auth.anonymous": "true"})
    device = server.device()
    with Client(server, client="a") as listener, Client(server, client="b") as speaker:
        listener.subscribe(("foo_topic", 0))
        speaker.send(publish("foo_topic", "hello"))
        assert listener.message()[:2] == ("foo_topic", b"hello")
        listener.send(subscribe(5, (f"dev/{device['id']}/push", 1))).expect(packet(0x90, b"\x00\x05\x80"))
    with Client(server, greet=False, user=device["id"], password="wrong") as client:
        client.expect(b"\x20\x02\x00\x04").expect_end()


def test_a_deleted_device_is_cut_off(server):
    device = server.device()
    with Client(server, device) as client:
        server.api("DELETE", f"/api/v1/devices/{device['id']}")
        client.expect_end()
    with Client(server, device, greet=False) as client:
        client.expect(b"\x20\x02\x00\x04").expect_end()


def test_a_new_secret_ends_the_old_one(server):
    device = server.device()
    with Client(server, device) as client:
        secret = server.api("POST", f"/api/v1/devices/{device['id']}/secret", {})["secret"]
        client.expect_end()
    with Client(server, device, greet=False) as client:
        client.expect(b"\x20\x02\x00\x04").expect_end()
    with Client(server, {**device, "secret": secret}):
        pass


def test_connect_bytes_are_those_of_the_specification():
    assert connect("a", "u", "p", keep_alive=60) == bytes.fromhex("10 13 00 04 4d 51 54 54 04 c2 00 3c 00 01 61 00 01 75 00 01 70")
    assert GOOD == bytes.fromhex("20 02 00 00")


def test_what_was_said_last_counts_although_the_client_is_back_at_once(server, background):
    """A script that publishes, says goodbye and starts again: the new line must not cut off what the old one sent."""
    topic, rounds = unique("last"), 60
    devices = [server.device() for _ in range(8)]

    def come_and_go(device):
        for number in range(rounds):
            with Client(server, device, will=(f"{topic}/{device['id']}", "lost", 0, False)) as line:
                line.send(publish(f"{topic}/{device['id']}", str(number)) + GOODBYE)

    with Client(server, server.device()) as listener:
        listener.subscribe((f"{topic}/#", 0))
        for done in [background(come_and_go, device) for device in devices]:
            done.result()
        heard = {device["id"]: [] for device in devices}
        for _ in range(rounds * len(devices)):
            name, payload, *_ = listener.message()
            heard[name.rsplit("/")[-1]].append(payload)
    assert all(said.count(b"lost") == 0 and len(said) == rounds for said in heard.values()), heard
