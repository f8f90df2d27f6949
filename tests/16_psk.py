"""A device proves its secret in the TLS handshake (TLS-PSK) and needs neither a certificate nor a password:
`mqtt.tls.psk = true`. With Debian's mosquitto clients."""

import shutil
import subprocess

import pytest

from harness import PATIENCE_S, PROGRAM, Server, clean_environment

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    assert PUB and SUB, "mosquitto_pub and mosquitto_sub are missing; run: apt-get install mosquitto-clients"
    data = tmp_path_factory.mktemp("psk") / "data"
    command = [str(PROGRAM), "tls", "self-signed", "--data", str(data)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S, env=clean_environment())
    with Server(data, {"mqtt.tls.listen": "127.0.0.1:0", "mqtt.tls.psk": "true"}) as running:
        yield running


def call(program, server, device, secret, *more):
    key = ["--psk-identity", device, "--psk", secret.encode().hex()]
    port = str(server.ports["mqtt.tls"])
    return subprocess.run([program, "-h", "127.0.0.1", "-p", port, *key, *more], capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_device_comes_in_by_the_key_it_proves(server):
    device = server.device()
    told = call(PUB, server, device["id"], device["secret"], "-t", "me/data", "-q", "1", "-m", '{"t": 21.5}')
    assert told.returncode == 0, told.stderr + server.log()
    latest = server.api("GET", f"/api/v1/devices/{device['id']}/latest")["items"]
    assert [(item["stream"], item["value"]) for item in latest] == [("t", 21.5)]


def test_a_wrong_key_and_an_unknown_identity_get_no_further(server):
    device = server.device()
    for identity, secret in [(device["id"], "not the secret"), ("nobody-here", "whatever")]:
        told = call(PUB, server, identity, secret, "-t", "me/data", "-m", "x")
        assert told.returncode != 0, identity
    assert server.api("GET", f"/api/v1/devices/{device['id']}")["online"] is False
    assert "the TLS handshake failed" in server.log()


def test_one_device_is_not_another(server):
    one, other = server.device(), server.device()
    told = call(SUB, server, one["id"], one["secret"], "-t", f"dev/{other['id']}/push", "-W", "3", "-C", "1")
    assert "All subscription requests were denied" in told.stderr, told


def test_a_certificate_and_a_password_still_do(server):
    device = server.device()
    ca = server.data / "tls" / "trust.pem"
    told = subprocess.run(
        [PUB, "-h", "127.0.0.1", "-p", str(server.ports["mqtt.tls"]), "--cafile", str(ca), "--insecure",
         "-u", device["id"], "-P", device["secret"], "-t", "me/data/t", "-q", "1", "-m", "1"],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr + server.log()
