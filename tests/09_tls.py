"""TLS: what a board says in it is what it says without. Certificates are made by one command, read again on
SIGHUP without a line falling, and every mistake is told with its fix.
"""

import http.client
import json
import signal
import socket
import ssl
import subprocess

import pytest

from harness import PATIENCE_S, PROGRAM, TOKEN, Line, Server, clean_environment, unique
from mqtt_wire import PING, PONG, connect, publish, subscribe

CONNACK = b"\x20\x02\x00\x00"


def self_signed(data, *arguments):
    command = [str(PROGRAM), "tls", "self-signed", "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=clean_environment())


LISTENERS = {"mqtt.tls.listen": "127.0.0.1:0", "espush.tls.listen": "127.0.0.1:0", "https.listen": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    data = tmp_path_factory.mktemp("secure") / "data"
    assert self_signed(data).returncode == 0
    with Server(data, LISTENERS) as running:
        yield running


def trust(server):
    context = ssl.create_default_context(cafile=server.data / "tls" / "trust.pem")
    return context


class TlsLine(Line):
    """A TLS connection that expects bytes."""

    def __init__(self, server, listener="mqtt.tls", context=None):
        super().__init__(server.ports[listener])
        self.socket = (context or trust(server)).wrap_socket(self.socket, server_hostname="localhost")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mqtt_in_both_versions(secure, version):
    context = trust(secure)
    context.minimum_version = context.maximum_version = version
    device = secure.device()
    with TlsLine(secure, context=context) as line:
        line.send(connect("x", device["id"], device["secret"])).expect(CONNACK)
        line.send(PING).expect(PONG)


def test_a_connection_in_tls_moves_to_its_home_with_all_that_it_says(secure):
    """Of these some are accepted by a shard that is not theirs; each says everything at once."""
    topic = unique("everybody")
    lines = []
    for _ in range(12):
        device = secure.device()
        line = TlsLine(secure)
        line.send(connect("x", device["id"], device["secret"]) + subscribe(1, (topic, 0)) + PING)
        line.expect(CONNACK + b"\x90\x03\x00\x01\x00" + PONG)
        lines.append(line)
    long = bytes(range(256)) * 200
    lines[0].send(publish(topic, long))
    for line in lines:
        line.expect(publish(topic, long))
        line.close()


def test_a_push_reaches_a_board_in_tls(secure):
    device = secure.device()
    with TlsLine(secure) as line:
        line.send(connect("x", device["id"], device["secret"]) + subscribe(1, ("me/push", 0)))
        line.expect(CONNACK + b"\x90\x03\x00\x01\x00")
        secure.push(device["id"], "on")
        line.expect(publish("me/push", "on"))


def test_the_api_in_tls(secure):
    connection = http.client.HTTPSConnection("localhost", secure.ports["https"], context=trust(secure), timeout=PATIENCE_S)
    for _ in range(2):
        connection.request("GET", "/api/v1/status", headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        assert answer.status == 200 and b'"https"' in answer.read()
    device = secure.device()
    connection.request("POST", f"/d/{device['id']}?wait=0", body=b"x" * 200_000, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 202, answer.read()
    connection.close()


def test_plain_bytes_on_the_tls_port_end_the_line_with_a_sentence_in_the_log(secure):
    with secure.line("mqtt.tls") as line:
        line.send(connect("x")).expect_end()
    with secure.line("mqtt.tls") as line:
        line.send(b"GET / HTTP/1.1\r\n\r\n").expect_end()
    assert secure.log().count("sent plain bytes to a TLS port") == 2


def test_a_client_that_does_not_trust_us_is_told_in_the_log(secure):
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsLine(secure, context=ssl.create_default_context())
    # The alert arrives when it arrives; a line after it is answered later.
    with TlsLine(secure) as line:
        line.send(PING).expect_end()
    while "does not trust our certificate" not in secure.log():
        assert secure.running()


def test_old_versions_are_not_spoken(secure):
    context = trust(secure)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        TlsLine(secure, context=context)


def test_new_certificates_after_sighup_without_losing_a_line(secure):
    device = secure.device()
    old_trust = trust(secure)
    with TlsLine(secure) as old:
        old.send(connect("x", device["id"], device["secret"])).expect(CONNACK)
        assert self_signed(secure.data, "--force", "--name", "localhost").returncode == 0
        secure.process.send_signal(signal.SIGHUP)
        while secure.log().count("get the certificates that are there now") < len(LISTENERS):
            assert secure.running()
        old.send(PING).expect(PONG)
        with TlsLine(secure) as new:
            new.send(connect("y", device["id"], device["secret"])).expect(CONNACK)
        with pytest.raises(ssl.SSLCertVerificationError):
            TlsLine(secure, context=old_trust)
        old.send(PING).expect(PONG)


def test_the_keys_are_for_their_owner_alone_and_are_not_replaced_by_accident(tmp_path):
    data = tmp_path / "data"
    made = self_signed(data, "--name", "push.example.org", "--name", "192.0.2.7")
    assert made.returncode == 0 and "mqtt.tls.listen" in made.stdout
    assert (data / "tls").stat().st_mode & 0o77 == 0
    files = sorted(path.name for path in (data / "tls").iterdir())
    assert files == ["p256.crt", "p256.key", "rsa.crt", "rsa.key", "trust.pem"]
    assert all(path.stat().st_mode & 0o77 == 0 for path in (data / "tls").iterdir())
    again = self_signed(data)
    assert again.returncode == 1 and "--force" in again.stderr
    odd = self_signed(data, "--force", "--name", "a b")
    assert odd.returncode == 1 and "--name" in odd.stderr


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"mqtt.tls.listen": "127.0.0.1:0"}, "espush tls self-signed"),
        ({"mqtt.tls.listen": "127.0.0.1:0", "mqtt.tls.certificate": "absent.pem", "mqtt.tls.key": "absent.key"}, "cannot read absent.pem"),
        ({"https.listen": "127.0.0.1:0", "https.certificate": "a.pem"}, "each certificate needs its key"),
    ],
)
def test_a_server_without_its_certificate_says_what_to_do(fresh, settings, says):
    with pytest.raises(AssertionError, match=says):
        fresh(settings=settings)


def test_a_handshake_that_is_not_finished_holds_nobody_up(secure):
    waiting = [socket.create_connection(("127.0.0.1", secure.ports["mqtt.tls"]), timeout=PATIENCE_S) for _ in range(50)]
    for one in waiting:
        one.sendall(b"\x16\x03\x01")
    with TlsLine(secure) as line:
        line.send(connect("x")).expect(b"\x20\x02\x00\x05")
    for one in waiting:
        one.close()


def test_es_push_speaks_tls_too(secure):
    """A board that opens with bytes which are no frame is sent away by the protocol, not by TLS."""
    with TlsLine(secure, "espush.tls") as line:
        line.send(b"GET / HTTP/1.1\r\n\r\n")
        line.expect_end()


def command(*arguments):
    return subprocess.run([str(PROGRAM), *arguments], capture_output=True, text=True, timeout=PATIENCE_S, env=clean_environment())


def test_the_command_line_finds_a_server_that_has_https_alone(fresh, tmp_path):
    data = tmp_path / "data-0"
    # The name that boards use; commands on the machine call 127.0.0.1 all the same.
    assert self_signed(data, "--name", "push.example.org").returncode == 0
    server = fresh(settings={"http.listen": "", "https.listen": "127.0.0.1:0"})
    assert (data / "server.url").read_text() == f"https://127.0.0.1:{server.ports['https']}"
    app = str(json.loads(server.cli("app", "add", "lamps", "--json").stdout)["id"])
    added = server.cli("device", "add", "lamp", "--app", app, "--name", "客厅")
    assert added.returncode == 0, added
    assert "客厅" in server.cli("device", "list").stdout
    made = self_signed(data, "--force", "--name", "push.example.org")
    assert made.returncode == 0
    server.process.send_signal(signal.SIGHUP)
    while "get the certificates that are there now" not in server.log():
        assert server.running()
    again = server.cli("doctor")
    assert "answers at https://127.0.0.1" in again.stdout, again
    server.stop()
    assert not (data / "server.url").exists() and not (data / "server.crt").exists()


def test_the_command_line_believes_only_who_it_was_told_to(secure, tmp_path):
    at = ["--token", TOKEN, "--data", str(tmp_path), "--server", f"https://localhost:{secure.ports['https']}"]
    stranger = command("device", "list", *at)
    assert stranger.returncode == 1 and "certificate is not trusted" in stranger.stderr and "--ca" in stranger.stderr, stranger
    known = command("device", "list", *at, "--ca", str(secure.data / "tls" / "trust.pem"))
    assert known.returncode == 0, known
    assert self_signed(tmp_path / "other").returncode == 0
    other = command("device", "list", *at, "--ca", str(tmp_path / "other" / "tls" / "trust.pem"))
    assert other.returncode == 1 and "certificate is not trusted" in other.stderr, other
    # What stands in a data directory is the whole truth about the server that runs on it.
    (tmp_path / "server.crt").write_bytes((tmp_path / "other" / "tls" / "trust.pem").read_bytes())
    imposter = command("device", "list", *at)
    assert imposter.returncode == 1 and "data directory" in imposter.stderr, imposter
    absent = command("device", "list", *at, "--ca", str(tmp_path / "absent.pem"))
    assert absent.returncode == 1 and "absent.pem" in absent.stderr, absent


def test_live_events_come_over_https(secure):
    device = secure.device()["id"]
    tail = subprocess.Popen(
        [str(PROGRAM), "tail", "--json", "--device", device, "--data", str(secure.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(ESPUSH_SERVER=f"https://127.0.0.1:{secure.ports['https']}"),
    )
    try:
        assert "following" in tail.stderr.readline()
        for value in (1, 2):
            secure.api("POST", f"/api/v1/devices/{device}/points", {"n": value})
            assert json.loads(tail.stdout.readline())["data"]["items"][0]["value"] == value
    finally:
        tail.kill()
        tail.communicate()
