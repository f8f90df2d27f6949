"""Decides from a journal alone whether the promises were kept; each rule returns sentences, none when all is well.
It has no idea of the server, the rounds or the plan. The rules are for the end of a scenario, when everybody has been
back and has taken what was waiting.
"""

import collections

# An acknowledgement that the server had read this long before it was killed is on disk.
SPARE_S = 0.5


def violations(journal):
    return [sentence for rule in RULES for sentence in rule(Told(journal))]


def missing(journal):
    """What is still on its way: the rules that may become true by waiting."""
    told = Told(journal)
    return [sentence for rule in (lost, lost_wills, lost_pushes) for sentence in rule(told)]


def matches(name, topic):
    """MQTT's wildcards, written down once more."""
    wanted, given = name.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(given) or level not in ("+", given[at]):
            return False
    return len(wanted) == len(given)


Subscription = collections.namedtuple("Subscription", "place who members topics qos")


class Told:
    """The journal, sorted once for all rules."""

    def __init__(self, journal):
        self.events = journal.events
        self.by = collections.defaultdict(list)
        for event in self.events:
            self.by[event.what].append(event)
        self.sent = {event.key: event for event in self.by["sent"]}
        self.acked = {event.key for event in self.by["acked"]}
        self.wills = {event.will: event for event in self.by["opened"] if event.about.get("will")}
        self.tried_wills = {event.will for event in self.by["opening"]}
        self.kills = self.by["killed"]
        self.received = collections.defaultdict(list)
        for event in self.by["received"]:
            self.received[event.who].append(event)
        self.connections = collections.defaultdict(list)
        self.kept = {}
        for event in self.by["opened"]:
            self.connections[event.who].append(event.place)
            self.kept[event.who] = event.kept

    def subscriptions(self):
        """Of kept sessions, from their first grant on; the members of a shared group are one, from the last member's on."""
        groups, seen = {}, set()
        for event in self.by["granted"]:
            if not self.kept.get(event.who) or (event.who, event.filter) in seen:
                continue
            seen.add((event.who, event.filter))
            if event.filter.startswith("$share/"):
                _, name, topics = event.filter.split("/", 2)
                before = groups.get((name, topics))
                members = (before.members if before else ()) + (event.who,)
                groups[name, topics] = Subscription(event.place, f"group {name}", members, topics, event.qos)
            else:
                yield Subscription(event.place, event.who, (event.who,), event.filter, event.qos)
        yield from groups.values()

    def connection(self, event):
        """The number of the connection on which something happened."""
        return sum(place < event.place for place in self.connections[event.who])

    def life(self, place):
        """The number of the server's start before something."""
        return sum(start.place < place for start in self.by["started"])

    def healthy(self, life):
        return all(self.life(failed.place) != life for failed in self.by["disk_failed"])

    def of(self, members):
        return [event for member in members for event in self.received[member]]


def lost(told):
    """A publish that was acknowledged after a kept session's subscription was acknowledged arrives there."""
    for subscription in told.subscriptions():
        have = {event.key for event in told.of(subscription.members)}
        for key in told.acked - have:
            publish = told.sent[key]
            if publish.place > subscription.place and min(publish.qos, subscription.qos) and matches(subscription.topics, publish.topic):
                yield f"lost: {key} (QoS {publish.qos}) was acknowledged to {publish.who} and never came to {subscription.who}"


def lost_wills(told):
    """A will whose client went without a goodbye, by its own or by the server's death, arrives too."""
    ends = collections.defaultdict(list)
    for event in told.by["closed"]:
        ends[event.who].append(event)
    for subscription in told.subscriptions():
        have = {event.key for event in told.of(subscription.members)}
        for key, opened in told.wills.items():
            end = next((event for event in ends[opened.who] if event.place > opened.place), None)
            if end is None or end.polite or key in have or opened.place < subscription.place:
                continue
            # A disk that takes nothing refuses a will's publish as any other, and there is nobody to be told.
            if not all(told.healthy(life) for life in (told.life(end.place), told.life(end.place) + 1)):
                continue
            if min(opened.qos, subscription.qos) and matches(subscription.topics, opened.topic):
                yield f"lost: {key}, the will of {opened.who}, never came to {subscription.who}"


def undue_wills(told):
    """A will whose client said goodbye, with time to spare, is never published."""
    undue = set()
    for event in told.by["closed"]:
        opened = [other for other in told.by["opened"] if other.who == event.who and other.place < event.place][-1]
        if event.polite and opened.about.get("will") and not unsure(told, event):
            undue.add(opened.will)
    for event in told.by["received"]:
        if event.key in undue:
            yield f"undue: {event.key} came to {event.who}, though its client had said goodbye"


def unsure(told, event):
    """Whether something need not have been on disk: the server was killed too soon, or had a disk that takes nothing."""
    return not told.healthy(told.life(event.place)) or any(abs(kill.when - event.when) < SPARE_S for kill in told.kills)


def twice(told):
    """What was published exactly once and is received exactly once is that: in a kept session and a shared group over
    all of their life, in a clean session as long as it lasts."""
    def exactly_once(event):
        source = told.sent.get(event.key) or told.wills.get(event.key)
        return event.new and event.qos == 2 and source is not None and source.qos == 2

    for subscription in told.subscriptions():
        mine = [event for event in told.of(subscription.members) if exactly_once(event) and matches(subscription.topics, event.topic)]
        for key, times in collections.Counter(event.key for event in mine).items():
            if times > 1:
                yield f"twice: {key} came {times} times to {subscription.who} at QoS 2"
    for who, events in told.received.items():
        if not told.kept.get(who):
            counted = collections.Counter((told.connection(event), event.key) for event in events if exactly_once(event))
            for (_, key), times in counted.items():
                if times > 1:
                    yield f"twice: {key} came {times} times to {who} in one clean session at QoS 2"


def order(told):
    """First occurrences of one publisher's messages of a topic and a QoS come in the order in which they were sent, as
    long as the disk took what they were written to."""
    shared = {event.who for event in told.by["granted"] if event.filter.startswith("$share/")}
    for who, events in told.received.items():
        if who in shared:
            continue
        newest, seen = {}, set()
        for event in events:
            publish = told.sent.get(event.key)
            session = 0 if told.kept.get(who) else told.connection(event)
            if publish is None or event.about.get("retained") or (session, event.key) in seen:
                continue
            seen.add((session, event.key))
            stream = (session, publish.who, publish.topic, publish.qos)
            before = newest.get(stream)
            # A publish that a full or failing disk refused comes again behind one that found room; so does one that
            # was sent before its receiver had subscribed, and again because nobody had acknowledged it.
            held = told.healthy(told.life(publish.place)) and wanted_already(told, who, publish)
            if before is not None and before.place > publish.place and held:
                yield f"order: {who} got {event.key} only after {before.key}"
            else:
                newest[stream] = publish


def wanted_already(told, who, publish):
    """Whether a client had been granted what brings it a message before that was sent."""
    return any(
        event.who == who and event.place < publish.place and matches(event.filter, publish.topic) for event in told.by["granted"]
    )


def again(told):
    """What a client has acknowledged, so that the server read it with time to spare, is not sent again as new. A
    publisher that had to repeat itself may have made two messages of one."""
    settled = {}
    receipts, pings = collections.defaultdict(list), {}
    resent = collections.Counter(event.key for event in told.by["resent"])
    fresh = collections.Counter()
    for event in told.events:
        if event.what == "receipted":
            receipts[event.who].append(event)
        elif event.what == "pinged":
            pings[event.who] = event.place
        elif event.what == "settled":
            waiting = receipts.pop(event.who, [])
            for receipt in waiting:
                if receipt.place > pings[event.who]:
                    receipts[event.who].append(receipt)
                elif not unsure(told, receipt):
                    settled.setdefault((event.who, receipt.key), receipt)
        elif event.what == "closed":
            receipts.pop(event.who, None)
        elif event.what == "received" and not event.dup and (event.who, event.key) in settled:
            fresh[event.who, event.key] += 1
            if fresh[event.who, event.key] > resent[event.key]:
                yield f"again: {event.key} was sent to {event.who} as new, which had acknowledged it"


def sessions(told):
    """A session whose subscription was acknowledged, or which began an exactly-once publish, is there the next time."""
    owed = set()
    for event in told.events:
        if event.what == "opened" and event.kept and event.who in owed and not event.present:
            yield f"session: that of {event.who} is gone"
        elif event.what == "granted" or (event.what == "acked" and told.sent[event.key].qos == 2):
            owed.add(event.who)


def retained(told):
    """The retained value is the last that was acknowledged, or one that was sent later. (One publisher a topic.)"""
    for event in told.by["retained"]:
        asked = [other for other in told.by["asked"] if other.who == event.who and other.topic == event.topic and other.place < event.place][-1]
        acked_before = {other.key for other in told.by["acked"] if other.place < asked.place}
        allowed, none_allowed = set(), True
        for publish in told.by["sent"]:
            if publish.topic != event.topic or not publish.retain or publish.place > event.place:
                continue
            if publish.key in acked_before:
                allowed, none_allowed = set(), False
            allowed.add(publish.key)
            none_allowed |= publish.empty
        allowed = {key for key in allowed if not told.sent[key].empty}
        if event.key not in allowed and not (event.key is None and none_allowed):
            yield f"retained: {event.topic} is {event.key}, allowed are {sorted(allowed)}{' and nothing' if none_allowed else ''}"


def lost_pushes(told):
    """A push that was acknowledged comes to its device."""
    have = {(event.who, event.key) for event in told.by["received"]}
    for event in told.by["push_acked"]:
        if (event.device, event.key) not in have:
            yield f"lost: push {event.push} ({event.key}) never came to {event.device}"


def pushes(told):
    """What was acknowledged is listed, and no state claims more than had happened."""
    by_id = {event.push: event for event in told.by["push_acked"]}
    for listing in told.by["pushes_listed"]:
        for push, order_ in by_id.items():
            if order_.place < listing.place and push not in listing.pushes:
                yield f"lost: push {push} ({order_.key}) was acknowledged and is not listed"
    proofs = {"delivered": "receipted", "applied": "answered"}
    first = {}
    for event in told.events:
        if event.what in proofs.values():
            first.setdefault((event.what, event.who, event.key), event.place)
    for event in told.by["push_state"]:
        order_ = by_id.get(event.push)
        proof = proofs.get(event.state)
        if order_ and proof and first.get((proof, order_.device, order_.key), event.place) >= event.place:
            yield f"untrue: push {event.push} is called {event.state}, and {order_.device} had not {proof} {order_.key}"


def uploads(told):
    """Points that were acknowledged are listed."""
    for listing in told.by["uploads_listed"]:
        for event in told.by["upload_acked"]:
            if event.who == listing.device and event.place < listing.place and event.key not in listing.keys:
                yield f"lost: the upload {event.key} of {event.who} was acknowledged and is not listed"


def invented(told):
    """Nothing comes that nobody sent, or other than it was sent."""
    known = told.sent.keys() | told.wills.keys() | told.tried_wills | {event.key for event in told.by["push_sent"]}
    for event in told.by["received"]:
        if event.key not in known:
            yield f"invented: {event.who} got {event.key!r} on {event.topic}"
        elif event.key in told.sent and told.sent[event.key].topic != event.topic:
            yield f"invented: {event.who} got {event.key} on {event.topic}, it was sent on {told.sent[event.key].topic}"


RULES = [lost, lost_wills, undue_wills, twice, order, again, sessions, retained, lost_pushes, pushes, uploads, invented]
