"""Debian's mosquitto_pub and mosquitto_sub, as people use them from a shell."""

import shutil
import subprocess

import pytest

from harness import PATIENCE_S, unique

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")


@pytest.fixture(autouse=True, scope="module")
def installed():
    assert PUB and SUB, "mosquitto_pub and mosquitto_sub are missing; run: apt-get install mosquitto-clients"


def who(server, device):
    return ["-h", "127.0.0.1", "-p", str(server.ports["mqtt"]), "-V", "311", "-u", device["id"], "-P", device["secret"]]


def publish(server, device, *arguments, **options):
    return subprocess.run([PUB, *who(server, device), *arguments], capture_output=True, timeout=PATIENCE_S, **options)


class Listener:
    """A mosquitto_sub that is known to have subscribed: its debug output says so."""

    def __init__(self, server, device, *arguments):
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", SUB, *who(server, device), "-d", "-W", str(PATIENCE_S), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.line_with("Subscribed")

    def line_with(self, text):
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"mosquitto_sub never said {text!r}: {seen}")

    def payload(self):
        """The next line that is not talk about packets."""
        for line in self.process.stdout:
            if not line.startswith(("Client ", "Subscribed")):
                return line.rstrip("\n")
        raise AssertionError("mosquitto_sub ended")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_two_devices_of_one_owner(server, qos):
    topic = unique("room/light")
    with Listener(server, server.device(), "-t", topic, "-q", qos, "-v") as listener:
        assert publish(server, server.device(), "-t", topic, "-q", qos, "-m", "on 灯").returncode == 0
        assert listener.payload() == f"{topic} on 灯"


def test_a_device_measures_and_is_pushed_to(server):
    device = server.device()
    assert publish(server, device, "-t", "me/data", "-q", "1", "-m", '{"temperature":21.5}').returncode == 0
    assert server.api("GET", f"/api/v1/devices/{device['id']}/latest")["items"][0]["value"] == 21.5
    with Listener(server, device, "-t", "me/push", "-q", "1") as listener:
        assert server.push(device["id"], "hello", wait_ms=30000)["state"] == "delivered"
        assert listener.payload() == "hello"


def test_retained_and_will(server):
    topic, gone = unique("state"), unique("gone")
    assert publish(server, server.device(), "-t", topic, "-m", "kept", "-r", "-q", "1").returncode == 0
    with Listener(server, server.device(), "-t", gone, "-t", topic) as heir:
        assert heir.payload() == "kept"
        dying = Listener(server, server.device(), "-t", "x", "--will-topic", gone, "--will-payload", "bye")
        dying.process.kill()
        dying.process.wait(PATIENCE_S)
        dying.process.stdout.close()
        assert heir.payload() == "bye"


def test_a_session_kept_over_a_night(server):
    device, topic = server.device(), unique("night")
    session = ["-t", topic, "-q", "1", "-c", "-i", device["id"]]
    with Listener(server, device, *session):
        pass
    for text in ("one", "two"):
        assert publish(server, server.device(), "-t", topic, "-q", "1", "-m", text).returncode == 0
    woken = subprocess.run([SUB, *who(server, device), *session, "-C", "2"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert woken.stdout.split() == ["one", "two"]


def test_many_lines_from_a_pipe(server):
    device = server.device()
    lines = "".join(f"{number}\n" for number in range(500)).encode()
    assert publish(server, device, "-t", "me/data/n", "-q", "1", "-l", input=lines).returncode == 0
    assert server.api("GET", f"/api/v1/devices/{device['id']}/latest")["items"][0]["value"] == 499


def test_a_wrong_password_is_said_to_be_wrong(server):
    device = server.device()
    refused = publish(server, {**device, "secret": "wrong"}, "-t", "x", "-m", "x")
    assert refused.returncode != 0 and b"user name or password" in refused.stderr.lower() + refused.stdout.lower(), refused
