"""A bridge to Debian's real Mosquitto: both ways, at every QoS, under changed names, over a remote that is away.
What is waited for is always a message or an answer, never a time."""

import shutil
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest

from harness import PATIENCE_S, PROGRAM, Server, clean_environment
from mqtt_wire import Client, puback, pubcomp, publish, pubrec, pubrel

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Mosquitto:
    """The other broker, on a port of its own, which it keeps over restarts together with its sessions."""

    def __init__(self, home, *lines):
        self.port = free_port()
        self.ports = {"mqtt": self.port}
        self.config = home / "mosquitto.conf"
        own = [f"listener {self.port} 127.0.0.1", "user root", "persistence true", f"persistence_location {home}/"]
        self.config.write_text("\n".join([*own, *(lines or ["allow_anonymous true"])]) + "\n")
        self.process = None

    def start(self):
        command = [MOSQUITTO, "-c", str(self.config)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment())
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if line.rstrip().endswith(" running"):
                return self
        raise AssertionError(f"mosquitto did not start: {seen}")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.communicate(timeout=PATIENCE_S)
            self.process = None


@pytest.fixture
def old(tmp_path):
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.stop()


TOPICS = """
[[bridge.topics]]
pattern = "#"
direction = "out"
qos = 2
local_prefix = "new/"
remote_prefix = "from-new/"

[[bridge.topics]]
pattern = "#"
direction = "in"
qos = 2
local_prefix = "old/"
remote_prefix = "to-new/"

[[bridge.topics]]
pattern = "house/#"
direction = "both"
qos = 1
"""


@pytest.fixture
def bridged(tmp_path):
    """Makes an espush with a bridge to a broker."""
    made = []

    def make(remote, more="", topics=TOPICS, host="127.0.0.1"):
        config = tmp_path / "espush.toml"
        config.write_text(
            f'[[bridge]]\nname = "old"\naddress = "{host}:{remote.port}"\nnotification_topic = "bridge/state"\n{more}\n{topics}'
        )
        arguments = ["--config", str(config)]
        made.append(Server(tmp_path / "data", settings={"auth.anonymous": "true"}, program_arguments=arguments))
        return made[-1].start()

    yield make
    for server in made:
        if server.running():
            server.stop()


def connected(remote):
    """Waits until the bridge says at the remote that it is there."""
    with Client(remote, client="watch") as watch:
        watch.subscribe(("bridge/state", 0))
        while watch.message()[1] != b"1":
            pass


def until(server, good):
    """Asks for the bridge's status until it is as wanted."""
    end = time.monotonic() + PATIENCE_S
    while True:
        (bridge,) = server.api("GET", "/api/v1/status")["bridges"]
        if good(bridge):
            return bridge
        assert time.monotonic() < end, f"{bridge}\n{server.log()}"


def put(client, topic, payload, qos, number=1, retain=False):
    """Publishes, to the end of the exchange."""
    client.send(publish(topic, payload, qos, number, retain))
    if qos == 1:
        client.expect(puback(number))
    if qos == 2:
        client.expect(pubrec(number)).send(pubrel(number)).expect(pubcomp(number))


def take(client):
    """The next message, acknowledged to the end of the exchange: (topic, payload, qos)."""
    topic, payload, qos, number, _ = client.message()
    if qos == 1:
        client.send(puback(number))
    if qos == 2:
        client.send(pubrec(number)).expect(pubrel(number)).send(pubcomp(number))
    return topic, payload.decode(), qos


def test_messages_go_out_at_every_qos_under_the_remotes_names(old, bridged):
    new = bridged(old)
    connected(old)
    there = Client(old, client="there").subscribe(("from-new/#", 2))
    here = Client(new, client="here")
    for qos in range(3):
        put(here, "new/lamp", f"at {qos}", qos)
        assert take(there) == ("from-new/lamp", f"at {qos}", qos)
    put(here, "elsewhere/lamp", "not bridged", 1)
    put(here, "new/lamp/last", "kept", 1, retain=True)
    assert take(there) == ("from-new/lamp/last", "kept", 1)
    late = Client(old, client="late").subscribe(("from-new/lamp/last", 0))
    assert late.message()[1:] == (b"kept", 0, None, True), "a last value here is one there"


def test_messages_come_in_at_every_qos_under_our_names(old, bridged):
    there = Client(old, client="there")
    put(there, "to-new/lamp/last", "kept", 1, retain=True)
    new = bridged(old)
    connected(old)
    here = Client(new, client="here").subscribe(("old/#", 2))
    assert take(here) == ("old/lamp/last", "kept", 1), "a last value from before the bridge"
    for qos in range(3):
        put(there, "to-new/lamp", f"at {qos}", qos)
        assert take(here) == ("old/lamp", f"at {qos}", qos)


def test_what_goes_both_ways_does_not_come_back(old, bridged):
    new = bridged(old)
    connected(old)
    here, there = (Client(broker, client="c").subscribe(("house/#", 1)) for broker in (new, old))
    here_too, there_too = (Client(broker, client="d") for broker in (new, old))
    put(here_too, "house/a", "1 from here", 1)
    assert take(there) == ("house/a", "1 from here", 1)
    put(there_too, "house/a", "2 from there", 1)
    assert take(here) == ("house/a", "1 from here", 1)
    # An echo of the first would have come before the second, and one of the second before the third.
    assert take(here) == ("house/a", "2 from there", 1)
    put(here_too, "house/b", "3 from here", 1)
    assert take(there) == ("house/a", "2 from there", 1)
    assert take(there) == ("house/b", "3 from here", 1)


def test_what_is_published_before_the_remote_is_there_and_while_it_is_away_arrives(old, bridged):
    with Client(old, client="archive", clean=False) as archive:
        archive.subscribe(("from-new/#", 2))
    old.stop()
    new = bridged(old)
    assert not until(new, lambda bridge: "cannot reach" in bridge["why"])["connected"]
    here = Client(new, client="here")
    put(here, "new/early", "at 1", 1)
    old.start()
    connected(old)
    until(new, lambda bridge: bridge["connected"])
    old.stop()
    put(here, "new/away", "at 1", 1)
    put(here, "new/away", "at 2", 2)
    old.start()
    connected(old)
    archive = Client(old, client="archive", clean=False, greet=False).expect(b"\x20\x02\x01\x00")
    assert [take(archive) for _ in range(3)] == [
        ("from-new/early", "at 1", 1),
        ("from-new/away", "at 1", 1),
        ("from-new/away", "at 2", 2),
    ]


def test_a_bridge_is_told_of(old, bridged):
    new = bridged(old)
    connected(old)
    bridge = until(new, lambda bridge: bridge["connected"])
    assert bridge["name"] == "old" and bridge["address"] == f"127.0.0.1:{old.port}" and bridge["why"] is None
    assert 'espush_bridge_connected{name="old"} 1' in new.request("GET", "/metrics")[2].decode()
    assert "ok   bridge  old is connected to" in new.cli("doctor").stdout
    assert f"bridge old: connected to 127.0.0.1:{old.port}" in new.log()
    with Client(old, client="watch") as watch:
        watch.subscribe(("bridge/state", 0))
        assert watch.message()[1] == b"1"
        new.stop()
        assert watch.message()[1] == b"0", "also at an ordinary end"


def test_a_remote_that_lets_nobody_in_is_a_sentence(tmp_path, bridged):
    closed = Mosquitto(tmp_path, "allow_anonymous false").start()
    try:
        new = bridged(closed, more='username = "u"\npassword = "not-this-one"')
        bridge = until(new, lambda bridge: "does not let this bridge in" in bridge["why"])
        assert not bridge["connected"] and bridge["next"]
        assert "BAD  bridge" in new.cli("doctor").stdout
        assert "not-this-one" not in new.log()
    finally:
        closed.stop()


def test_a_remote_that_knows_no_bridges_is_called_as_by_an_ordinary_client(tmp_path, bridged):
    with Server(tmp_path / "remote", settings={"auth.anonymous": "true"}) as other:
        other.port = other.ports["mqtt"]
        new = bridged(other)
        connected(other)
        here = Client(new, client="here").subscribe(("old/#", 2))
        there = Client(other, client="there").subscribe(("from-new/#", 2))
        put(Client(new, client="c"), "new/lamp", "out", 2)
        assert take(there) == ("from-new/lamp", "out", 2)
        put(Client(other, client="c"), "to-new/lamp", "in", 2)
        assert take(here) == ("old/lamp", "in", 2)
        assert "called again as by an ordinary client" in new.log()
        here.close()
        there.close()
        new.stop()


def test_over_tls_the_right_certificate_is_asked_for(tmp_path, bridged):
    command = [str(PROGRAM), "tls", "self-signed", "--data", str(tmp_path / "ca"), "--name", "localhost"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S, env=clean_environment())
    certificate, key = (next((tmp_path / "ca").rglob(f"*p256*.{kind}")) for kind in ("crt", "key"))
    secure = SimpleNamespace(port=free_port())
    plain = Mosquitto(
        tmp_path, "allow_anonymous true", f"listener {secure.port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}"
    ).start()
    try:
        distrusted = bridged(secure, more="tls = true", host="localhost")
        until(distrusted, lambda bridge: "certificate is not trusted" in bridge["why"])
        distrusted.stop()
        new = bridged(secure, more=f'tls = true\nca = "{certificate}"', host="localhost")
        connected(plain)
        there = Client(plain, client="there").subscribe(("from-new/#", 2))
        put(Client(new, client="here"), "new/lamp", "x" * 100_000, 2)
        assert take(there) == ("from-new/lamp", "x" * 100_000, 2)
    finally:
        plain.stop()


def test_a_configuration_that_cannot_be_is_refused_with_its_place(tmp_path, old, bridged):
    with pytest.raises(AssertionError, match=r"espush\.toml:7:11: \"me/…\" is what a device calls its own topics"):
        bridged(old, topics='[[bridge.topics]]\npattern = "me/#"')
