"""Other people's clients in TLS and in WebSocket: Debian's mosquitto_pub and mosquitto_sub, Eclipse paho."""

import queue
import subprocess

import paho.mqtt.client as paho
import pytest

from harness import PATIENCE_S, PROGRAM, Server, clean_environment, unique


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    data = tmp_path_factory.mktemp("secure") / "data"
    subprocess.run([str(PROGRAM), "tls", "self-signed", "--data", str(data)], check=True, timeout=PATIENCE_S, env=clean_environment())
    with Server(data, {"mqtt.tls.listen": "127.0.0.1:0", "https.listen": "127.0.0.1:0"}) as running:
        yield running


def mosquitto(server, program, version, *arguments, **options):
    device = server.device()
    who = ["-h", "localhost", "-p", str(server.ports["mqtt.tls"]), "-u", device["id"], "-P", device["secret"]]
    tls = ["--cafile", str(server.data / "tls" / "trust.pem"), "--tls-version", version]
    return subprocess.run([program, "-V", "311", *who, *tls, *arguments], capture_output=True, timeout=PATIENCE_S, **options)


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_mosquitto_in_tls(secure, version):
    topic, text = unique("tls"), "x" * 3000
    published = mosquitto(secure, "mosquitto_pub", version, "-t", topic, "-q", "1", "-r", "-m", text)
    assert published.returncode == 0, published.stderr
    heard = mosquitto(secure, "mosquitto_sub", version, "-t", topic, "-q", "1", "-C", "1", "-W", str(PATIENCE_S))
    assert heard.stdout.decode().strip() == text, heard.stderr


def test_mosquitto_does_not_trust_a_stranger(secure):
    """Without our certificate the client must refuse."""
    device = secure.device()
    arguments = ["-h", "localhost", "-p", str(secure.ports["mqtt.tls"]), "-u", device["id"], "-P", device["secret"], "-t", "x", "-m", "x"]
    refused = subprocess.run(["mosquitto_pub", *arguments, "--tls-use-os-certs"], capture_output=True, timeout=PATIENCE_S)
    assert refused.returncode != 0 and b"TLS" in refused.stderr, refused


@pytest.fixture
def script(secure):
    made = []

    def make(transport, tls, listener):
        device = secure.device()
        heard, subscribed = queue.Queue(), queue.Queue()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport=transport, protocol=paho.MQTTv311)
        client.username_pw_set(device["id"], device["secret"])
        if tls:
            client.tls_set(ca_certs=str(secure.data / "tls" / "trust.pem"))
        client.on_message = lambda client, data, message: heard.put((message.topic, message.payload))
        client.on_subscribe = lambda client, data, number, codes, properties: subscribed.put(codes)
        client.connect("localhost", secure.ports[listener], keepalive=30)
        client.loop_start()
        made.append(client)
        return client, heard, subscribed

    yield make
    for client in made:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize(
    "transport, tls, listener",
    [("tcp", True, "mqtt.tls"), ("websockets", False, "http"), ("websockets", True, "https")],
)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_over_every_transport(script, transport, tls, listener, qos):
    topic = unique("paho")
    client, heard, subscribed = script(transport, tls, listener)
    client.subscribe(topic, qos)
    subscribed.get(timeout=PATIENCE_S)
    for payload in (b"short", bytes(range(256)) * 600):
        client.publish(topic, payload, qos).wait_for_publish(PATIENCE_S)
        assert heard.get(timeout=PATIENCE_S) == (topic, payload)
