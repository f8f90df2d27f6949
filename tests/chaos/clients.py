"""Clients that live through crashes: an MQTT client that keeps its session's side as the standard wants it (what is in
flight is repeated with DUP, an exactly-once message is taken once), a board on ES-PUSH, and their journals. They decide
nothing and never complain of the server: that is the checker's.
"""

import asyncio
import itertools

import mqtt_wire as wire

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, PINGRESP = 2, 3, 4, 5, 6, 7, 9, 13
WINDOW = 8


class Gone(Exception):
    """The line ended, or could not be had: the server is dead, or we left."""


def payload(key, size=0):
    """A message says who it is, and can show that it is whole."""
    return f"{key}|{size}|{'x' * size}".encode()


def key_of(raw):
    """The key of a whole message; what is not whole is told as it came."""
    key, _, rest = raw.decode(errors="replace").partition("|")
    size, _, filler = rest.partition("|")
    return key if size.isdigit() and filler == "x" * int(size) else f"broken {raw[:60]!r}"


class Line:
    """One connection after another to one port."""

    def __init__(self, journal, name, port):
        self.journal, self.name, self.port = journal, name, port
        self.reader = self.writer = self.task = None
        self.gone = asyncio.Event()
        self.gone.set()
        self.leaving = False

    def note(self, what, **about):
        self.journal.note(what, self.name, **about)

    async def connect(self):
        try:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port())
        except OSError:
            raise Gone from None
        self.leaving = False

    async def read(self, count):
        try:
            return await self.reader.readexactly(count)
        except (OSError, asyncio.IncompleteReadError):
            raise Gone from None

    def send(self, raw):
        if not self.writer.is_closing():
            self.writer.write(raw)

    def begin(self):
        """Listens from here on."""
        self.gone.clear()
        self.task = asyncio.create_task(self.listen())

    async def listen(self):
        try:
            while True:
                await self.heard()
        except Gone:
            pass
        finally:
            self.note("closed", polite=self.leaving)
            self.writer.close()
            self.gone.set()
            self.woken()

    def woken(self):
        """The line is gone; whoever waits for something on it should look."""

    async def abort(self):
        """Goes without a word."""
        if self.writer and not self.gone.is_set():
            self.writer.transport.abort()
            await self.gone.wait()

    async def rest(self, seconds):
        """Lets time pass on an open line."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise Gone


class Mqtt(Line):
    """`late(self)` says whether acknowledgements are held back for a while."""

    def __init__(self, journal, name, port, login, kept, late=lambda: False):
        super().__init__(journal, name, port)
        self.login, self.kept, self.late = login, kept, late
        self.out = {}  # packet id: [key, topic, qos, retain, payload, acknowledged]
        self.unreleased = set()
        self.numbers = itertools.cycle(range(1, 65536))
        self.asked = {}
        self.held = []
        self.moved = asyncio.Event()
        self.heard_messages = asyncio.Queue()
        self.pings = 0

    async def open(self, will=None):
        """`will`: (key, topic, qos)."""
        await self.connect()
        last_word = (will[1], payload(will[0]), will[2], False) if will else None
        if will:
            self.note("opening", will=will[0])
        self.send(wire.connect(client=self.name, clean=not self.kept, will=last_word, **self.login))
        try:
            kind, body = await self.packet()
        except Gone:
            self.writer.close()
            raise
        assert kind >> 4 == CONNACK and body[1] == 0, f"{self.name} was not let in: {body.hex()}"
        present = bool(body[0] & 1)
        about = {"will": will[0], "topic": will[1], "qos": will[2]} if will else {"will": None}
        self.note("opened", kept=self.kept, present=present, **about)
        if not present:
            self.out.clear()
            self.unreleased.clear()
        self.asked, self.held, self.pings = {}, [], 0
        self.begin()
        for number, (key, topic, qos, retain, raw, acknowledged) in list(self.out.items()):
            if acknowledged:
                self.send(wire.pubrel(number))
            else:
                self.note("resent", key=key, topic=topic, qos=qos, retain=retain, empty=not raw)
                self.send(wire.publish(topic, raw, qos, number, retain, again=True))

    async def packet(self):
        first, length, shift = (await self.read(1))[0], 0, 0
        while True:
            digit = (await self.read(1))[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return first, await self.read(length)

    async def heard(self):
        first, body = await self.packet()
        kind, number = first >> 4, int.from_bytes(body[:2], "big")
        if kind == PUBLISH:
            self.take(first, body)
        elif kind == PUBREL:
            self.unreleased.discard(number)
            self.send(wire.pubcomp(number))
        elif kind == SUBACK:
            for (name, _), qos in zip(self.asked.pop(number), body[2:], strict=True):
                assert qos < 3, f"{self.name} may not subscribe to {name}"
                self.note("granted", filter=name, qos=qos)
        elif kind in (PUBACK, PUBREC) and number in self.out:
            entry = self.out[number]
            if not entry[5]:
                self.note("acked", key=entry[0])
            if kind == PUBACK:
                del self.out[number]
            else:
                entry[5] = True
                self.send(wire.pubrel(number))
        elif kind == PUBREC:
            self.send(wire.pubrel(number))
        elif kind == PUBCOMP:
            self.out.pop(number, None)
        elif kind == PINGRESP:
            self.pings -= 1
            if not self.pings:
                self.note("settled")
        self.woken()

    def woken(self):
        self.moved.set()

    def take(self, first, body):
        qos, end = first >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
        topic = body[2:end].decode()
        number = int.from_bytes(body[end : end + 2], "big") if qos else None
        key = key_of(body[end + 2 if qos else end :])
        new = qos < 2 or number not in self.unreleased
        if qos == 2:
            self.unreleased.add(number)
        self.note("received", key=key, topic=topic, qos=qos, dup=bool(first & 8), new=new, retained=bool(first & 1), number=number)
        if qos:
            self.held.append((key, wire.puback(number) if qos == 1 else wire.pubrec(number)))
            if not self.late():
                self.acknowledge()
        self.heard_messages.put_nowait((topic, key))

    def acknowledge(self):
        """All that was held back, in order, and asks whether it was read. One ping at a time: an answer that
        comes is then the newest one's."""
        for key, raw in self.held:
            self.note("receipted", key=key)
            self.send(raw)
        self.held = []
        if not self.pings:
            self.pings += 1
            self.note("pinged")
            self.send(wire.PING)

    async def until(self, true):
        """Waits until something is so on this line, or the line is gone."""
        while not true():
            if self.gone.is_set():
                raise Gone
            self.moved.clear()
            await self.moved.wait()

    async def subscribe(self, *filters):
        number = self.number()
        self.asked[number] = filters
        self.send(wire.subscribe(number, *filters))
        await self.until(lambda: number not in self.asked)

    async def publish(self, key, topic, qos, retain=False, size=0, empty=False, window=WINDOW, raw=None):
        await self.until(lambda: len(self.out) < window)
        if self.gone.is_set():
            raise Gone
        if raw is None:
            raw = b"" if empty else payload(key, size)
        number = self.number() if qos else None
        if qos:
            self.out[number] = [key, topic, qos, retain, raw, False]
        self.note("sent", key=key, topic=topic, qos=qos, retain=retain, empty=empty)
        self.send(wire.publish(topic, raw, qos, number, retain))

    async def all_out(self):
        """Until all that we published is acknowledged to the end."""
        await self.until(lambda: not self.out)

    def number(self):
        return next(number for number in self.numbers if number not in self.out)

    async def leave(self):
        self.acknowledge()
        self.leaving = True
        self.send(wire.GOODBYE)
        await self.gone.wait()

    def flush(self):
        if not self.gone.is_set():
            self.acknowledge()


class Sensor(Mqtt):
    """A device that uploads what it measured; its publishes are points, not messages to others."""

    WORDS = {"sent": "upload_sent", "resent": "upload_sent", "acked": "upload_acked"}

    def note(self, what, **about):
        super().note(self.WORDS.get(what, what), **about)

    async def upload(self, number):
        """The point's value is its key; each has a millisecond of its own."""
        await self.publish(number, "me/data", 1, raw=f'{{"ts":{1_700_000_000_000 + number},"n":{number}}}'.encode())


class Board(Line):
    """Firmware of 2015: uploads, and takes what is pushed."""

    def __init__(self, journal, app, chip, port):
        super().__init__(journal, f"{app['id']}-{chip}", port)
        self.app, self.chip, self.waiting = app, chip, {}

    async def open(self):
        await self.connect()
        tail = b"AT_DEV_ANONYMOUS".ljust(32, b"\0") + b"\x01\x00\x00\x00"
        self.send(self.frame(1, 0, self.app["id"].to_bytes(4, "big") + self.app["key"].encode() + self.chip.to_bytes(4, "big") + tail))
        try:
            msgid, kind, body = await self.receive()
        except Gone:
            self.writer.close()
            raise
        assert (kind, body) == (1, b"\0"), f"the board was not let in: {body.hex()}"
        self.note("opened", kept=False, present=False, will=None)
        self.waiting = {}
        self.begin()

    @staticmethod
    def frame(msgid, kind, body=b""):
        return (10 + len(body)).to_bytes(4, "big") + msgid.to_bytes(4, "big") + kind.to_bytes(2, "big") + body

    async def receive(self):
        head = await self.read(10)
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:10], "big"), await self.read(int.from_bytes(head[:4], "big") - 10)

    async def heard(self):
        msgid, kind, body = await self.receive()
        if kind == 7 and msgid in self.waiting:
            if body == b"\0":
                self.note("upload_acked", key=self.waiting.pop(msgid))
        elif kind == 4:
            key = key_of(body)
            self.note("received", key=key, topic="me/push", qos=1, dup=False, new=True)
            self.note("receipted", key=key)
            self.send(self.frame(msgid, 5, b"\0"))

    def upload(self, number):
        """The point's value is its key; each has a second of its own."""
        msgid = number % 1000 + 2
        self.waiting[msgid] = number
        self.note("upload_sent", key=number)
        self.send(self.frame(msgid, 6, bytes(2) + (1_700_000_000 + number).to_bytes(4, "big") + f"n,{number}".encode()))
