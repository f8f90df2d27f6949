"""A device proves its secret by SCRAM-SHA-256 (MQTT 5.0, section 4.12) instead of sending it, and is shown in
turn that the server knows it. The client's side is written here from RFC 5802 and RFC 7677."""

import base64
import hashlib
import hmac

import pytest

from harness import Line
from mqtt_wire import PING, PONG, packet, text

METHOD = b"\x15" + text("SCRAM-SHA-256")


def sha(key, message):
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def properties(data):
    body = METHOD + b"\x16" + len(data).to_bytes(2, "big") + data.encode()
    return bytes([len(body) & 0x7F]) + body if len(body) < 128 else bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body


class Prover(Line):
    """An MQTT 5.0 client that logs in by SCRAM."""

    def __init__(self, server, user, nonce="fyko+d2lbbFgONRv9qkxdawL", method=None):
        super().__init__(server.ports["mqtt"])
        self.pushed_back = b""
        self.bare, self.nonce = f"n={user},r={nonce}", nonce
        props = properties(f"n,,{self.bare}")
        if method:
            body = b"\x15" + text(method)
            props = bytes([len(body)]) + body
        self.send(packet(0x10, text("MQTT") + b"\x05\x02\x00\x3c" + props + text("prover")))

    def receive(self):
        """The next packet: (first byte, reason, {property id: bytes} of the authentication)."""
        first, length, shift = self.read(1)[0], 0, 0
        while True:
            digit = self.read(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                break
        body = self.read(length)
        if first == 0x20:
            body = body[1:]
        reason, at = body[0], 2 if length < 130 else 3
        found = {}
        for number in (0x15, 0x16):
            place = body.find(bytes([number]), at)
            if place >= 0:
                size = int.from_bytes(body[place + 1 : place + 3], "big")
                found[number] = body[place + 3 : place + 3 + size]
        return first, reason, found

    def begin_again(self, user, nonce):
        """Asks to prove it once more."""
        self.bare, self.nonce = f"n={user},r={nonce}", nonce
        self.send(packet(0xF0, b"\x19" + properties(f"n,,{self.bare}")))

    def receive_beside_pong(self):
        """The next two packets, of which one is a PINGRESP: the other."""
        head = self.read(2)
        if head == PONG:
            return self.receive()
        self.pushed_back = head
        found = self.receive()
        self.expect(PONG)
        return found

    def read(self, count):
        back, self.pushed_back = self.pushed_back[:count], self.pushed_back[count:]
        return back + (super().read(count - len(back)) if count > len(back) else b"")

    def prove(self, password, challenge=None):
        """Answers the challenge; what the server must show in turn."""
        first, reason, found = challenge or self.receive()
        assert (first, reason, found[0x15]) == (0xF0, 0x18, b"SCRAM-SHA-256")
        challenge = found[0x16].decode()
        fields = dict(field.split("=", 1) for field in challenge.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = sha(salted, "Client Key")
        final = f"c=biws,r={fields['r']}"
        said = f"{self.bare},{challenge},{final}"
        signature = sha(hashlib.sha256(client_key).digest(), said)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        self.send(packet(0xF0, b"\x18" + properties(f"{final},p={proof}")))
        return "v=" + base64.b64encode(sha(sha(salted, "Server Key"), said)).decode()


def test_a_device_proves_its_secret_and_is_shown_ours(server):
    """[MQTT 5.0: 3.15.2-1, 4.12.0-2, 4.12.0-5]"""
    device = server.device()
    with server.events(device["id"]) as events, Prover(server, device["id"]) as line:
        ours = line.prove(device["secret"])
        first, reason, found = line.receive()
        assert (first, reason, found[0x15], found[0x16].decode()) == (0x20, 0, b"SCRAM-SHA-256", ours)
        assert events.until("presence", online=True)["device"] == device["id"]
        line.send(PING).expect(PONG)


@pytest.fixture
def proven(server):
    """A device that has logged in by its proof."""
    device = server.device()
    with Prover(server, device["id"]) as line:
        line.prove(device["secret"])
        assert line.receive()[:2] == (0x20, 0)
        yield device, line


def test_it_may_be_proved_once_more_on_the_open_line(proven):
    """[MQTT 5.0: 4.12.1-1]"""
    device, line = proven
    for nonce in ("first", "second"):
        line.begin_again(device["id"], nonce)
        line.send(PING)
        # Everything else goes on meanwhile; which of the two comes first is not said.
        challenge = line.receive_beside_pong()
        ours = line.prove(device["secret"], challenge)
        first, reason, found = line.receive()
        assert (first, reason, found[0x15], found[0x16].decode()) == (0xF0, 0, b"SCRAM-SHA-256", ours)
    line.send(PING).expect(PONG)


def test_a_proof_that_fails_then_ends_the_line(proven):
    """[MQTT 5.0: 4.12.1-2]"""
    device, line = proven
    line.begin_again(device["id"], "again")
    line.prove("not the secret")
    assert line.receive()[:2] == (0xE0, 0x87)
    line.expect_end()


def test_nobody_becomes_somebody_else(server, proven):
    other = server.device()
    _, line = proven
    line.begin_again(other["id"], "other")
    assert line.receive()[:2] == (0xE0, 0x87)
    line.expect_end()


@pytest.mark.parametrize("known", [True, False])
def test_a_wrong_secret_and_an_unknown_device_look_alike(server, known):
    """[MQTT 5.0: 4.12.0-4]"""
    device = server.device()
    with Prover(server, device["id"] if known else "nobody-here") as line:
        line.prove("not the secret")
        first, reason, _ = line.receive()
        assert (first, reason) == (0x20, 0x86)
        line.expect_end()


def test_another_method_is_refused(server):
    with Prover(server, "x", method="GS2-KRB5") as line:
        assert line.receive()[:2] == (0x20, 0x8C)
        line.expect_end()


def test_nothing_else_may_come_before_the_proof(server):
    """[MQTT 5.0: 3.1.2-30]"""
    device = server.device()
    with Prover(server, device["id"]) as line:
        assert line.receive()[1] == 0x18
        line.send(PING)
        # A CONNACK has no word for it, so the connection just ends.
        line.expect_end()
