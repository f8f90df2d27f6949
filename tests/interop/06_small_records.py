"""What a board with a small buffer asks for, asked by OpenSSL's own client: fragments of 512 bytes. And
mosquitto_rr, which asks a question over MQTT 5.0 and waits for its answer."""

import re
import shutil
import subprocess
import time

import pytest

from harness import PATIENCE_S, PROGRAM, TOKEN, Server, clean_environment, unique
from mqtt_wire import Client, connect, publish, subscribe

# A record carries its payload and what the cipher adds: nonce, tag, padding, and in 1.3 the type.
ADDED_MAX = 64


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    data = tmp_path_factory.mktemp("records") / "data"
    subprocess.run([str(PROGRAM), "tls", "self-signed", "--data", str(data)], check=True, timeout=PATIENCE_S, env=clean_environment())
    with Server(data, {"mqtt.tls.listen": "127.0.0.1:0"}) as running:
        yield running


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_fragments_of_512_bytes_are_granted_and_kept_to(secure, version):
    assert shutil.which("openssl"), "openssl is missing; run: apt-get install openssl"
    device, topic = secure.device(), unique("large")
    with Client(secure, secure.device()) as line:
        line.send(publish(topic, "x" * 5000, qos=1, number=1, retain=True)).expect(b"\x40\x02\x00\x01")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.ports['mqtt.tls']}", version, "-maxfraglen", "512",
               "-CAfile", str(secure.data / "tls" / "trust.pem"), "-msg", "-tlsextdebug", "-nocommands", "-ign_eof"]  # fmt: skip
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        client.stdin.write(connect("board", device["id"], device["secret"]) + subscribe(1, (topic, 0)))
        client.stdin.flush()
        said, deadline = b"", time.monotonic() + PATIENCE_S
        while said.count(b"x" * 100) < 5 and time.monotonic() < deadline:
            said += client.stdout.read1(65536)
        client.stdin.write(b"\xe0\x00")
        client.stdin.flush()
        said += client.communicate(timeout=PATIENCE_S)[0]
    finally:
        client.kill()
        client.wait()
    text = said.decode("latin-1")
    assert 'TLS server extension "max fragment length" (id=1), len=1' in text, text[:3000]
    headers = re.findall(r"<<< [^\n]*RecordHeader[^\n]*\n +([0-9a-f]{2}) 03 03 ([0-9a-f]{2}) ([0-9a-f]{2})", text)
    lengths = [int(high + low, 16) for _, high, low in headers]
    assert sum(lengths) > 5000 and max(lengths) <= 512 + ADDED_MAX, lengths


def test_mosquitto_rr_gets_its_answer(server, background):
    assert shutil.which("mosquitto_rr"), "mosquitto_rr is missing; run: apt-get install mosquitto-clients"
    question, answer = unique("question"), unique("answer")
    with Client(server, client="answerer", user="token", password=TOKEN) as line:
        line.subscribe((question, 1))
        command = ["mosquitto_rr", "-h", "127.0.0.1", "-p", str(server.ports["mqtt"]), "-u", "token", "-P", TOKEN, "-V", "5",
                   "-t", question, "-e", answer, "-m", "what is it?", "-W", str(PATIENCE_S)]  # fmt: skip
        asking = background(subprocess.run, command, capture_output=True, timeout=PATIENCE_S)
        topic, payload, qos, number, _ = line.message()
        assert (topic, payload) == (question, b"what is it?")
        line.send(publish(answer, "it is this"))
        assert asking.result().stdout.strip() == b"it is this"
