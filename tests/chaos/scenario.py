"""One server's hard life: a company of clients works, the server is killed in the middle (and its disk loses what was not
synced), it starts again on the same ports and directory, everybody comes back with the session they had; some rounds
of that, then quiet: all that was promised arrives, and the checker reads the journal.

Everything that is chosen comes from the seed; how far the server had come when it was killed does not.
"""

import asyncio
import json
import random

from chaos import checker, powercut
from chaos.clients import Board, Gone, Mqtt, Sensor
from chaos.journal import Journal
from harness import PATIENCE_S, Server

# A session keeps 1000 messages for a client that is away; what a scenario publishes stays below that.
PUBLISHES_MAX = 850
PUSHES_MAX = 60  # for one device that stays away; it is 100 there


class Scenario:
    """`directory` is the scenario's own; with `library` (powercut.so) each kill is a power cut."""

    def __init__(self, directory, seed, kills, library=None, say=lambda text: None, **settings):
        self.chance = random.Random(seed)
        self.directory, self.kills, self.library, self.say = directory, kills, library, say
        self.journal = Journal()
        self.log = directory / "writes"
        self.server = Server(directory / "data", settings=settings)
        self.published = self.uploaded = self.pushed = self.wills = self.retained = 0
        self.lost = []
        self.calm = self.faulty = False
        self.starts = 0

    def run(self):
        """The violations. The journal is beside the data directory afterwards."""
        try:
            asyncio.run(self.live())
        except AssertionError as error:
            # A client that is not known any more, an answer that the API must not give: nobody can go on from there.
            return [f"stopped: {error}"]
        finally:
            if self.server.process is not None:
                self.server.kill()
            self.journal.write(self.directory / "journal")
        return checker.violations(self.journal)

    async def live(self):
        await self.start()
        self.people()
        for number in range(self.kills):
            working = [asyncio.create_task(self.until_gone(work)) for work in self.works()]
            await asyncio.sleep(self.chance.choice([0.03, 0.2, 0.5, 0.9]) * self.chance.uniform(0.7, 1.3))
            self.journal.note("killed")
            self.server.kill()
            await asyncio.gather(*working)
            self.cut()
            self.say(f"kill {number + 1} of {self.kills}: {len(self.journal.events)} events{f', {self.lost[-1]}' if self.lost else ''}")
            self.calm = number + 1 == self.kills
            await self.start()
            if not self.faulty:
                await self.look(number)
        await self.settle()

    async def start(self):
        if self.library:
            # A sync that takes its time is one that the power is cut in.
            slow = {"fsync_ms": self.chance.choice([0, 3, 15])}
            self.server.environment = powercut.environment(self.library, self.server.data, self.log, **slow, **self.faults())
        self.starts += 1
        try:
            await asyncio.to_thread(self.server.start)
        except AssertionError:
            if not self.faulty:
                raise
            # It said that it cannot start on such a disk, which is its right. Somebody mends it.
            self.cut()
            self.faulty, self.server.environment = False, powercut.environment(self.library, self.server.data, self.log)
            await asyncio.to_thread(self.server.start)
        # The same ports from now on, as a real server has.
        for name, port in self.server.ports.items():
            self.server.settings[f"{name}.listen"] = f"127.0.0.1:{port}"
        self.journal.note("started")

    def cut(self):
        """The power goes, where that is what is played."""
        if self.library:
            self.lost.append(powercut.cut(self.server.data, self.log, self.chance.choice([None, self.chance.random()])))
            if self.lost[-1].fault:
                self.journal.note("disk_failed")

    def faults(self):
        """Now and then a disk that goes bad, or is full, some time after the start: then nothing more is acknowledged."""
        self.faulty = not self.calm and self.starts > 0 and self.chance.random() < 0.25
        if not self.faulty:
            return {}
        return self.chance.choice([{"fsync_fails_after": self.chance.randint(20, 80)}, {"space_bytes": self.chance.randint(100_000, 500_000)}])

    async def until_gone(self, work):
        try:
            await work()
        except (Gone, OSError):
            pass

    # ---- who is there ----

    def people(self):
        def client(name, kind=Mqtt, kept=True, late=0.0, own=False):
            about = self.server.device(app, id=name if own else f"{name}-device")
            login = {"user": about["id"], "password": about["secret"]}
            return kind(self.journal, name, lambda: self.server.ports["mqtt"], login, kept, lambda: not self.calm and self.chance.random() < late)

        app = self.server.app(open=True)
        self.publishers = [client("kept-publisher"), client("kept-publisher-2"), client("clean-publisher", kept=False)]
        self.keeper = client("keeper")
        self.listeners = {
            "online": (client("online", late=0.2), [("t/#", 2)]),
            "online-1": (client("online-1", late=0.2), [("t/+/1", 1), ("t/+/2", 1), ("t/will", 1)]),
            "away": (client("away"), [("t/#", 2)]),
            "coming-and-going": (client("coming-and-going", late=0.3), [("t/#", 2)]),
            "clean": (client("clean", kept=False, late=0.2), [("t/#", 2)]),
            "member-1": (client("member-1", late=0.2), [("$share/crew/g/#", 2)]),
            "member-2": (client("member-2", late=0.2), [("$share/crew/g/#", 2)]),
        }
        self.sensor = client("sensor", Sensor)
        self.lamp = client("lamp", late=0.2, own=True)
        self.sleeper = client("sleeper", own=True)
        self.mortal_login = client("mortal").login
        self.board = Board(self.journal, app, 8454703, lambda: self.server.ports["espush"])

    def works(self):
        yield from (lambda publisher=publisher: self.publishing(publisher) for publisher in self.publishers)
        yield self.keeping
        for name in ("online", "online-1", "clean", "member-1"):
            yield lambda name=name: self.listening(name)
        yield lambda: self.passing("coming-and-going", True)
        yield lambda: self.passing("member-2", False)
        if self.chance.random() < 0.3 or "away" not in {event.who for event in self.journal.events if event.what == "granted"}:
            yield lambda: self.visiting("away")
        yield self.uploading
        yield self.boarding
        yield self.pushing
        yield self.lamp_on
        yield lambda: self.dying(False)
        yield lambda: self.dying(self.chance.random() < 0.5)

    # ---- what they do, until the line is gone ----

    async def publishing(self, publisher):
        await publisher.open()
        while self.published < PUBLISHES_MAX * self.starts // (self.kills + 1):
            self.published += 1
            qos, size = self.chance.choice([0, 1, 1, 2, 2]), self.chance.choice([0, 0, 100, 2000])
            topic = f"{self.chance.choice('tttg')}/{publisher.name}/{qos}"
            await publisher.publish(f"{publisher.name}:{self.published}", topic, qos, size=size)
            await publisher.rest(self.chance.expovariate(100))
        await publisher.gone.wait()

    async def keeping(self):
        """Retained values, one at a time, so that the last acknowledged one is the last."""
        await self.keeper.open()
        while True:
            await self.keeper.all_out()
            self.retained += 1
            topic = f"r/{self.chance.randint(1, 3)}"
            key, qos, empty = f"value:{self.retained}", self.chance.choice([1, 2]), self.chance.random() < 0.2
            await self.keeper.publish(key, topic, qos, retain=True, empty=empty)
            await self.keeper.rest(self.chance.expovariate(50))

    async def listening(self, name):
        client, filters = self.listeners[name]
        await client.open()
        await client.subscribe(*filters)
        await client.gone.wait()

    async def passing(self, name, mortal):
        """Comes and goes, sometimes with a goodbye."""
        client, filters = self.listeners[name]
        while True:
            await client.open(will=self.will() if mortal else None)
            await client.subscribe(*filters)
            await client.rest(self.chance.expovariate(15))
            await (client.leave() if self.chance.random() < 0.5 else client.abort())

    async def visiting(self, name):
        client, filters = self.listeners[name]
        await client.open()
        await client.subscribe(*filters)
        await client.rest(self.chance.uniform(0, 0.1))
        await client.leave()

    async def dying(self, polite):
        """Leaves a will: is there when the server dies, or goes before, one way or the other."""
        client = Mqtt(self.journal, f"mortal-{self.wills}", lambda: self.server.ports["mqtt"], self.mortal_login, kept=False)
        await client.open(will=self.will())
        if polite:
            await client.rest(self.chance.uniform(0, 0.3))
            await (client.leave() if self.chance.random() < 0.7 else client.abort())
        await client.gone.wait()

    def will(self):
        self.wills += 1
        return f"will:{self.wills}", "t/will", self.chance.choice([1, 2])

    async def uploading(self):
        await self.sensor.open()
        while True:
            self.uploaded += 1
            await self.sensor.upload(self.uploaded)
            await self.sensor.rest(self.chance.expovariate(50))

    async def boarding(self):
        await self.board.open()
        while True:
            self.uploaded += 1
            self.board.upload(self.uploaded)
            await self.board.rest(self.chance.expovariate(50))

    async def lamp_on(self):
        while True:
            await self.lamp.open()
            await self.lamp.subscribe(("me/push", 1))
            await self.lamp.rest(self.chance.expovariate(3))
            await self.lamp.abort()

    async def pushing(self):
        """By the API, to a device that is mostly there, to one that sleeps and to a board."""
        while True:
            self.pushed += 1
            key = f"push:{self.pushed}"
            device = self.chance.choice(["lamp", "lamp", "sleeper", self.board.name] if self.pushed < PUSHES_MAX else ["lamp", self.board.name])
            self.journal.note("push_sent", key=key, device=device)
            text = f"{key}|0|"
            if self.chance.random() < 0.5:
                order = {"audience": {"device": device}, "text": text, "wait_ms": 0}
                status, _, raw = await self.http("POST", "/api/v1/push", order)
                push = int(json.loads(raw)["id"]) if status < 300 else None
            else:
                status, headers, raw = await self.http("POST", f"/d/{device}?wait=0", text.encode())
                push = int(headers["Espush-Push"]) if status < 300 else None
            if push is not None:
                self.journal.note("push_acked", key=key, device=device, push=push)
            elif status != 404 and not (self.faulty and status >= 500):  # the board registers itself, perhaps only now
                raise AssertionError(f"a push was refused with {status}: {raw}")
            await asyncio.sleep(self.chance.expovariate(30))

    async def http(self, *request):
        """A request to a server that may be killed meanwhile."""
        try:
            return await asyncio.to_thread(self.server.request, *request)
        except (OSError, ValueError) as error:
            raise Gone from error

    # ---- what is looked at after a start ----

    async def look(self, number):
        """Retained values as a new client finds them, and what some deliveries claim."""
        reader = Mqtt(self.journal, f"reader-{number}", lambda: self.server.ports["mqtt"], self.mortal_login, kept=False)
        topics = [f"r/{n}" for n in (1, 2, 3)]
        await reader.open()
        for topic in topics:
            reader.note("asked", topic=topic)
        await reader.subscribe(("r/+", 1), ("end/reader", 1))
        # Its own message comes behind what the subscription brought.
        await reader.publish(f"end:{number}", "end/reader", 1)
        found = {}
        while (came := await asyncio.wait_for(reader.heard_messages.get(), PATIENCE_S))[0] != "end/reader":
            found[came[0]] = came[1]
        for topic in topics:
            reader.note("retained", topic=topic, key=found.get(topic))
        await reader.leave()
        acked = [event.push for event in self.journal.events if event.what == "push_acked"]
        for push in self.chance.sample(acked, min(3, len(acked))):
            await self.tell_state(push)

    async def tell_state(self, push):
        (delivery,) = (await asyncio.to_thread(self.server.api, "GET", f"/api/v1/pushes/{push}/deliveries"))["items"]
        self.journal.note("push_state", push=push, state=delivery["state"])

    # ---- the end ----

    async def settle(self):
        """Everybody is back, nobody dawdles, and nothing is lost any more: at once, or after some patience."""
        for client in [*self.publishers, self.keeper, self.sensor]:
            await client.open()
        for client, filters in self.listeners.values():
            await client.open()
            if not client.kept:
                await client.subscribe(*filters)
        for device in (self.lamp, self.sleeper):
            await device.open()
            await device.subscribe(("me/push", 1))
        await self.board.open()
        for client in [*self.publishers, self.keeper, self.sensor]:
            await client.all_out()
        await self.patiently(lambda: not checker.missing(self.journal))
        # What would come twice comes before this.
        closer = self.publishers[0]
        for topic in ("t/end", "g/end"):
            await closer.publish(f"end of {topic}", topic, 1)
        await closer.all_out()
        await self.patiently(lambda: not checker.missing(self.journal))
        await self.list()
        for client, _ in self.listeners.values():
            await client.leave()
        await asyncio.to_thread(self.server.stop)
        await asyncio.gather(*(line.gone.wait() for line in [*self.publishers, self.keeper, self.sensor, self.lamp, self.sleeper, self.board]))

    async def patiently(self, true, patience_s=15):
        """Waits for what must come by itself; when it does not, the checker will say so."""
        for _ in range(patience_s * 20):
            if true():
                return
            await asyncio.sleep(0.05)

    async def list(self):
        acked = [event.push for event in self.journal.events if event.what == "push_acked"]
        self.journal.note("pushes_listed", pushes=await self.pages("/api/v1/pushes", lambda item: int(item["id"])))
        for push in acked:
            await self.tell_state(push)
        for device in (self.sensor.login["user"], self.board.name):
            keys = await self.pages(f"/api/v1/devices/{device}/points?stream=n", lambda item: int(item["value"]))
            self.journal.note("uploads_listed", device="sensor" if device != self.board.name else device, keys=keys)

    async def pages(self, path, of):
        """All of a list."""
        found, cursor = [], ""
        while cursor is not None:
            joint = "&" if "?" in path else "?"
            page = await asyncio.to_thread(self.server.api, "GET", f"{path}{joint}limit=1000{cursor}")
            found += map(of, page["items"])
            cursor = f"&cursor={page['next']}" if page.get("next") else None
        return found
