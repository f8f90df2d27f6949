"""Eclipse paho for Python, the client of most servers and scripts, with its own threads and reconnects."""

import queue

import paho.mqtt.client as paho
import pytest

from harness import PATIENCE_S, unique


class Script:
    """A paho client; what it hears stands in a queue."""

    def __init__(self, server, user, password, client_id="", clean=True, will=None):
        self.heard, self.subscribed, self.connected = queue.Queue(), queue.Queue(), queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean, protocol=paho.MQTTv311)
        self.client.username_pw_set(user, password)
        self.client.on_message = lambda client, data, message: self.heard.put((message.topic, message.payload, message.qos))
        self.client.on_subscribe = lambda client, data, number, codes, properties: self.subscribed.put(codes)
        self.client.on_connect = lambda client, data, flags, code, properties: self.connected.put((code, flags.session_present))
        if will:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", server.ports["mqtt"], keepalive=30)
        self.client.loop_start()

    def let_in(self):
        code, present = self.connected.get(timeout=PATIENCE_S)
        assert not code.is_failure, code
        return present

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        return self.subscribed.get(timeout=PATIENCE_S)

    def publish(self, topic, payload, qos=0, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE_S)

    def message(self):
        return self.heard.get(timeout=PATIENCE_S)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def script(server):
    made = []

    def make(device=None, **options):
        device = device or server.device()
        made.append(Script(server, device["id"], device["secret"], **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_qos_both_ways_with_a_long_payload(script, qos):
    topic = unique("paho")
    listener, speaker = script(), script()
    assert not listener.let_in()
    listener.subscribe(topic, qos)
    long = bytes(range(256)) * 600
    speaker.publish(topic, long, qos)
    assert listener.message() == (topic, long, qos)


def test_a_burst_comes_in_order_and_whole(script):
    topic = unique("burst")
    listener, speaker = script(), script()
    listener.subscribe(topic, 1)
    for number in range(1000):
        speaker.client.publish(topic, str(number), 1)
    assert [int(listener.message()[1]) for _ in range(1000)] == list(range(1000))


def test_a_session_goes_on(script, server):
    device, topic = server.device(), unique("session")
    first = script(device, client_id="desk", clean=False)
    assert first.let_in() is False
    first.subscribe(topic, 1)
    first.close()
    script().publish(topic, b"meanwhile", 1)
    second = script(device, client_id="desk", clean=False)
    assert second.let_in() is True
    assert second.message() == (topic, b"meanwhile", 1)


def test_a_program_with_a_token_sees_every_device(server):
    made = server.api("POST", "/api/v1/tokens", {"name": "paho", "role": "operator"})
    program = Script(server, "token", made["token"])
    try:
        program.let_in()
        program.subscribe("dev/+/data/#", 1)
        device = server.device()
        speaker = Script(server, device["id"], device["secret"])
        try:
            speaker.publish("me/data/t", "21.5", 1)
            assert program.message()[:2] == (f"dev/{device['id']}/data/t", b"21.5")
        finally:
            speaker.close()
    finally:
        program.close()


def test_retained_messages_of_every_qos_come_to_who_subscribes_later_until_they_are_cleared(script):
    root = unique("kept")
    speaker = script()
    for qos in range(3):
        speaker.publish(f"{root}/{qos}", f"at {qos}", qos, retain=True)
    early = script()
    early.subscribe(f"{root}/+", 2)
    assert sorted(early.message() for _ in range(3)) == [(f"{root}/{qos}", f"at {qos}".encode(), qos) for qos in range(3)]
    for qos in range(3):
        speaker.publish(f"{root}/{qos}", b"", qos, retain=True)
    late = script()
    late.subscribe(f"{root}/+", 2)
    speaker.publish(f"{root}/end", b"nothing came before", 2)
    assert late.message() == (f"{root}/end", b"nothing came before", 2)


def test_what_is_said_meanwhile_waits_in_order(script, server):
    device, root = server.device(), unique("meanwhile")
    first = script(device, client_id="desk", clean=False)
    first.subscribe(f"{root}/#", 2)
    first.close()
    speaker = script()
    for qos in range(3):
        speaker.publish(f"{root}/{qos}", f"at {qos}", qos)
    second = script(device, client_id="desk", clean=False)
    assert second.let_in() is True
    # What promises nothing need not wait for anybody.
    heard = [message for message in iter(second.message, (f"{root}/2", b"at 2", 2)) if message[2] != 0]
    assert heard == [(f"{root}/1", b"at 1", 1)]


def test_filters_that_overlap_bring_a_message_once_and_at_the_better_qos(script):
    root = unique("overlap")
    one = script()
    one.subscribe(f"{root}/#", 2)
    one.subscribe(f"{root}/+", 1)
    one.publish(f"{root}/c", b"x", 2)
    one.publish(f"{root}/c", b"end", 0)
    assert [one.message() for _ in range(2)] == [(f"{root}/c", b"x", 2), (f"{root}/c", b"end", 0)]


def test_what_was_not_acknowledged_comes_again(script, server):
    device, topic = server.device(), unique("again")
    first = script(device, client_id="desk", clean=False)
    first.client.manual_ack_set(True)
    first.subscribe(topic, 1)
    script().publish(topic, b"x", 1)
    assert first.message() == (topic, b"x", 1)
    first.close()
    second = script(device, client_id="desk", clean=False)
    assert second.message() == (topic, b"x", 1)


def test_a_topic_that_is_given_back_is_not_heard_any_more(script):
    root = unique("back")
    listener, speaker = script(), script()
    for name in "abc":
        listener.subscribe(f"{root}/{name}", 2)
    listener.client.unsubscribe(f"{root}/a")
    listener.subscribe(f"{root}/d", 0)  # answered after it
    for name in "abc":
        speaker.publish(f"{root}/{name}", name, 1)
    assert [listener.message() for _ in range(2)] == [(f"{root}/b", b"b", 1), (f"{root}/c", b"c", 1)]


def test_a_will_is_heard_when_the_line_breaks_and_not_after_a_goodbye(script):
    topic = unique("will")
    heir = script()
    heir.subscribe(topic, 2)
    polite = script(will=(topic, b"polite", 1))
    polite.let_in()
    polite.close()
    lost = script(will=(topic, b"lost", 2))
    lost.let_in()
    lost.client.loop_stop()
    lost.client.socket().close()
    assert heir.message() == (topic, b"lost", 2)


def test_wildcards_do_not_reach_topics_with_a_dollar(script):
    topic = unique("dollar")
    one = script()
    one.subscribe("#", 2)
    one.publish("$" + topic, b"x", 1)
    one.publish(topic, b"end", 1)
    while (heard := one.message())[0] != topic:
        assert not heard[0].startswith("$"), heard


def test_who_is_not_let_in_is_told_why(server):
    device = server.device()
    stranger = Script(server, device["id"], "wrong")
    try:
        code, _ = stranger.connected.get(timeout=PATIENCE_S)
        assert code.is_failure and "password" in str(code).lower()
    finally:
        stranger.close()
