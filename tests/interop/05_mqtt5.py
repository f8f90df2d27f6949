"""MQTT 5.0 with paho for Python and with Debian's mosquitto_pub and _sub: properties, shares, expiry, reasons."""

import queue
import shutil
import subprocess

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness import PATIENCE_S, unique

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")


def properties(kind, **values):
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Script:
    """A paho client of level 5; what it hears stands in queues."""

    def __init__(self, server, device, client_id="", fresh=True, connect=None, will=None):
        self.heard, self.subscribed, self.connected, self.left = (queue.Queue() for _ in range(4))
        self.published, self.unsubscribed = queue.Queue(), queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        self.client.username_pw_set(device["id"], device["secret"])
        self.client.on_message = lambda client, data, message: self.heard.put(message)
        self.client.on_subscribe = lambda client, data, number, codes, said: self.subscribed.put([code.value for code in codes])
        self.client.on_unsubscribe = lambda client, data, number, codes, said: self.unsubscribed.put([code.value for code in codes])
        self.client.on_connect = lambda client, data, flags, code, said: self.connected.put((code, flags, said))
        self.client.on_disconnect = lambda client, data, flags, code, said: self.left.put(code)
        self.client.on_publish = lambda client, data, number, code, said: self.published.put((code, said))
        if will:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", server.ports["mqtt"], keepalive=30, clean_start=fresh, properties=connect)
        self.client.loop_start()

    def let_in(self):
        code, flags, said = self.connected.get(timeout=PATIENCE_S)
        assert not code.is_failure, code
        return flags.session_present, said

    def subscribe(self, topic, qos=1, said=None, **options):
        self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options), properties=said)
        return self.subscribed.get(timeout=PATIENCE_S)

    def publish(self, topic, payload, qos=1, retain=False, **said):
        self.client.publish(topic, payload, qos, retain, properties=properties(PacketTypes.PUBLISH, **said))
        return self.published.get(timeout=PATIENCE_S)

    def message(self):
        return self.heard.get(timeout=PATIENCE_S)

    def close(self, **options):
        self.client.disconnect(**options)
        self.client.loop_stop()


@pytest.fixture
def script(server):
    made = []

    def make(device=None, **options):
        made.append(Script(server, device or server.device(), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_properties_arrive_as_they_were_said_and_in_order(script):
    topic = unique("said")
    listener, speaker = script(), script()
    _, terms = listener.let_in()
    assert terms.TopicAliasMaximum > 0 and terms.ReceiveMaximum > 0 and terms.AssignedClientIdentifier
    assert listener.subscribe(topic) == [1]
    said = {
        "UserProperty": [("b", "1"), ("a", "2"), ("b", "1"), ("名", "灯")],
        "ResponseTopic": "answers/7",
        "CorrelationData": b"\x00\xff7",
        "ContentType": "text/plain",
        "PayloadFormatIndicator": 1,
    }
    code, _ = speaker.publish(topic, "on", **said)
    assert not code.is_failure
    heard = listener.message().properties
    for name, value in said.items():
        assert getattr(heard, name) == value, name


def test_a_question_and_its_answer(script):
    asks, answers = unique("ask"), unique("answer")
    server_side, client_side = script(), script()
    server_side.subscribe(asks)
    client_side.subscribe(answers)
    client_side.publish(asks, "2 + 2", ResponseTopic=answers, CorrelationData=b"7")
    question = server_side.message().properties
    server_side.publish(question.ResponseTopic, "4", CorrelationData=question.CorrelationData)
    answer = client_side.message()
    assert (answer.payload, answer.properties.CorrelationData) == (b"4", b"7")


def test_a_share_divides_the_work(script):
    topic = unique("jobs")
    workers = [script() for _ in range(3)]
    for worker in workers:
        assert worker.subscribe(f"$share/crew/{topic}") == [1]
    boss = script()
    for number in range(30):
        boss.publish(topic, str(number))
    done = [[int(worker.message().payload) for _ in range(10)] for worker in workers]
    assert sorted(sum(done, [])) == list(range(30))
    assert all(worker.heard.empty() for worker in workers)


def test_the_expiry_counts_down_and_ends(script, server):
    device, topic = server.device(), unique("expiry")
    keep = properties(PacketTypes.CONNECT, SessionExpiryInterval=600)
    first = script(device, client_id="desk", connect=keep)
    first.subscribe(topic)
    first.close()
    speaker = script()
    speaker.publish(topic, "stays", MessageExpiryInterval=500)
    speaker.publish(topic, "without end")
    second = script(device, client_id="desk", fresh=False, connect=keep)
    present, _ = second.let_in()
    assert present
    stays = second.message()
    assert stays.payload == b"stays" and 0 < stays.properties.MessageExpiryInterval <= 500
    endless = second.message()
    assert endless.payload == b"without end" and not hasattr(endless.properties, "MessageExpiryInterval")


def test_options_and_ids_of_subscriptions(script):
    topic = unique("options")
    one = script()
    one.publish(topic, "kept", retain=True)
    assert one.subscribe(topic, said=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=7), retainHandling=2, noLocal=True) == [1]
    one.publish(topic, "mine")
    script().publish(topic, "theirs", retain=True)
    heard = one.message()
    assert (heard.payload, heard.retain, heard.properties.SubscriptionIdentifier) == (b"theirs", False, [7])
    other = script()
    other.subscribe(topic, retainAsPublished=True)
    assert (other.message().payload, other.heard.empty()) == (b"theirs", True)
    one.publish(topic, "again", retain=True)
    assert other.message().retain
    one.client.unsubscribe([topic, "never"])
    assert one.unsubscribed.get(timeout=PATIENCE_S) == [0, 0x11]


def test_retained_messages_come_to_a_new_subscription_only_if_so_wished(script):
    root = unique("handling")
    one = script()
    for qos in range(3):
        one.publish(f"{root}/{qos}", f"at {qos}", qos=qos, retain=True)

    def brought(handling):
        one.subscribe(f"{root}/+", 2, retainHandling=handling)
        one.publish(f"{root}/end", "end", qos=2)
        heard = []
        while (message := one.message()).payload != b"end":
            heard.append(message.qos)
        return sorted(heard)

    assert brought(2) == []
    one.client.unsubscribe(f"{root}/+")
    assert brought(1) == [0, 1, 2]
    assert brought(1) == []
    assert brought(0) == brought(0) == [0, 1, 2]


def test_no_local_is_about_the_own_messages_alone(script):
    topic = unique("local")
    one, two = script(), script()
    for each in (one, two):
        each.subscribe(topic, 2, noLocal=True)
    one.publish(topic, "of one")
    two.publish(topic, "of two")
    assert (one.message().payload, two.message().payload) == (b"of two", b"of one")


def test_a_message_that_fits_two_filters_comes_once_with_both_ids(script):
    topic = unique("ids")
    one = script()
    for filter, number in ((topic, 2), (f"{topic}/#", 456_789)):
        one.subscribe(filter, 2, said=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=number))
    one.publish(topic, "x")
    one.publish(topic + "/end", "end")
    heard = one.message()
    assert (heard.payload, sorted(heard.properties.SubscriptionIdentifier)) == (b"x", [2, 456_789])
    assert one.message().payload == b"end"


def test_what_is_larger_than_the_client_takes_is_kept_from_it(script):
    topic = unique("size")
    one = script(connect=properties(PacketTypes.CONNECT, MaximumPacketSize=128))
    one.subscribe(topic, 2)
    for payload in ("small", "x" * 128, "end"):
        code, _ = one.publish(topic, payload)
        assert not code.is_failure
    assert [one.message().payload for _ in range(2)] == [b"small", b"end"]


def test_a_session_that_is_not_to_be_kept_is_gone_and_a_goodbye_may_ask_for_more(script, server):
    device = server.device()

    def visit(fresh, keep_s, at_the_end=None):
        one = script(device, client_id="desk", fresh=fresh, connect=properties(PacketTypes.CONNECT, SessionExpiryInterval=keep_s))
        present, _ = one.let_in()
        one.close(**({"properties": properties(PacketTypes.DISCONNECT, SessionExpiryInterval=at_the_end)} if at_the_end is not None else {}))
        return present

    assert visit(True, 0) is False
    assert visit(False, 600) is False
    assert visit(False, 1, at_the_end=600) is True
    assert visit(False, 600, at_the_end=0) is True
    assert visit(False, 600) is False


def test_what_is_refused_has_its_reason_and_the_line_stays(script, server):
    device = server.device()
    one = script(device)
    assert one.subscribe("dev/stranger/push") == [0x87]
    code, said = one.publish("dev/stranger/push", "x")
    assert code.value == 0x87 and "not allowed" in said.ReasonString
    # At QoS 2 paho goes on after a PUBREC with an error, so that its script would only see the 0x92 that follows.
    code, _ = one.publish("me/data", "{")
    assert code.value == 0x99
    code, _ = one.publish("me/data/t", "21.5")
    assert not code.is_failure


def test_a_takeover_and_a_wrong_password_are_told(script, server):
    device = server.device()
    first = script(device, client_id="desk")
    first.let_in()
    # paho comes again at once, so the second must not.
    first.client.on_disconnect = lambda client, data, flags, code, said: (first.left.put(code), client.disconnect())
    script(device, client_id="desk").let_in()
    assert first.left.get(timeout=PATIENCE_S).value == 0x8E
    code, _, said = script({**device, "secret": "wrong"}).connected.get(timeout=PATIENCE_S)
    assert code.value == 0x86 and "secret" in said.ReasonString


def test_a_will_waits_for_its_delay_or_the_end_of_the_session(script, server):
    topic = unique("gone")
    heir = script()
    heir.subscribe(topic)
    delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=3600, UserProperty=[("who", "desk")])
    keep = properties(PacketTypes.CONNECT, SessionExpiryInterval=3600)
    one = script(client_id="desk", connect=keep, will=(topic, "bye", 1, False, delay))
    one.let_in()
    # With the session's end the will does not wait any longer.
    one.client.disconnect(
        reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=4),
        properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0),
    )
    gone = heir.message()
    assert (gone.payload, gone.properties.UserProperty) == (b"bye", [("who", "desk")])


def test_mosquitto_pub_and_sub_with_properties(server):
    topic = unique("mosquitto")
    at = ["-h", "127.0.0.1", "-p", str(server.ports["mqtt"]), "-V", "5"]

    def who(device):
        return ["-u", device["id"], "-P", device["secret"]]

    form = "%t %p %A %C %D %F %P %R"
    listener = subprocess.Popen(
        ["stdbuf", "-oL", SUB, *at, *who(server.device()), "-t", f"$share/g/{topic}", "-q", "1", "-d", "-W", str(PATIENCE_S), "-C", "1", "-F", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    for line in listener.stdout:
        seen.append(line)
        if "Subscribed" in line:
            break
    said = [
        *["-D", "publish", "content-type", "text/plain"],
        *["-D", "publish", "response-topic", "re/1"],
        *["-D", "publish", "correlation-data", "seven"],
        *["-D", "publish", "payload-format-indicator", "1"],
        *["-D", "publish", "user-property", "b", "1"],
        *["-D", "publish", "user-property", "a", "2"],
        *["-D", "publish", "message-expiry-interval", "60"],
    ]
    told = subprocess.run([PUB, *at, *who(server.device()), "-t", topic, "-q", "2", "-m", "on", *said], capture_output=True, timeout=PATIENCE_S)
    assert told.returncode == 0, told
    heard, _ = listener.communicate(timeout=PATIENCE_S)
    last = [line for line in heard.splitlines() if line.startswith(topic)]
    assert len(last) == 1, (seen, heard)
    for part in ("text/plain", "seven", "re/1", "b:1 a:2"):
        assert part in last[0], last


def test_mosquitto_pub_hears_why_it_was_refused(server):
    device = server.device()
    arguments = ["-h", "127.0.0.1", "-p", str(server.ports["mqtt"]), "-V", "5", "-u", device["id"], "-P", device["secret"]]
    refused = subprocess.run([PUB, *arguments, "-t", "dev/stranger/x", "-q", "1", "-m", "x", "-d"], capture_output=True, timeout=PATIENCE_S)
    assert b"RC:135" in refused.stdout + refused.stderr, refused
