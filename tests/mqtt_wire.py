"""MQTT 3.1.1 packets as bytes, written down once more and independently of the program, so that both
cannot be wrong in the same way. Only what the suites send.
"""

from harness import Line


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packet(first, body):
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)[0], left % 128
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([first]) + length + body


def connect(client="", user=None, password=None, clean=True, keep_alive=60, will=None):
    flags = 0x02 if clean else 0
    payload = text(client)
    if will:
        topic, message, qos, retain = will
        flags |= 0x04 | qos << 3 | (0x20 if retain else 0)
        payload += text(topic) + text(message)
    if user is not None:
        flags |= 0x80
        payload += text(user)
    if password is not None:
        flags |= 0x40
        payload += text(password)
    return packet(0x10, text("MQTT") + bytes([4, flags]) + keep_alive.to_bytes(2, "big") + payload)


def publish(topic, payload=b"", qos=0, number=None, retain=False, again=False):
    first = 0x30 | (8 if again else 0) | qos << 1 | (1 if retain else 0)
    payload = payload.encode() if isinstance(payload, str) else payload
    return packet(first, text(topic) + (number.to_bytes(2, "big") if qos else b"") + payload)


def subscribe(number, *filters):
    return packet(0x82, number.to_bytes(2, "big") + b"".join(text(name) + bytes([qos]) for name, qos in filters))


def unsubscribe(number, *names):
    return packet(0xA2, number.to_bytes(2, "big") + b"".join(text(name) for name in names))


def puback(number):
    return packet(0x40, number.to_bytes(2, "big"))


def pubrec(number):
    return packet(0x50, number.to_bytes(2, "big"))


def pubrel(number):
    return packet(0x62, number.to_bytes(2, "big"))


def pubcomp(number):
    return packet(0x70, number.to_bytes(2, "big"))


PING = b"\xc0\x00"
PONG = b"\xd0\x00"
GOODBYE = b"\xe0\x00"


class Client(Line):
    """A device on an MQTT line."""

    def __init__(self, server, device=None, greet=True, **options):
        super().__init__(server.ports["mqtt"])
        if device:
            options = {"client": device["id"], "user": device["id"], "password": device["secret"], **options}
        self.send(connect(**options))
        if greet:
            self.expect(b"\x20\x02\x00\x00")

    def subscribe(self, *filters, number=1):
        """Subscribes (a bare name means QoS 1) and expects to be granted what was asked."""
        filters = [(f, 1) if isinstance(f, str) else f for f in filters]
        self.send(subscribe(number, *filters))
        self.expect(packet(0x90, number.to_bytes(2, "big") + bytes(qos for _, qos in filters)))
        return self

    def receive(self):
        """The next packet: (first byte, body)."""
        first = self.read(1)[0]
        length, shift = 0, 0
        while True:
            digit = self.read(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return first, self.read(length)

    def message(self):
        """The next packet, which must be a PUBLISH: (topic, payload, qos, number, retain)."""
        first, body = self.receive()
        assert first & 0xF0 == 0x30, f"wanted a PUBLISH, got {first:#x} {body.hex(' ')}"
        qos, end = first >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
        number = int.from_bytes(body[end : end + 2], "big") if qos else None
        return body[2:end].decode(), body[end + (2 if qos else 0) :], qos, number, bool(first & 1)

    def goodbye(self):
        self.send(GOODBYE)
        self.expect_end()
        self.close()
