"""The checker itself under test: each rule finds the journal that breaks it, and has nothing to say of one that does
not. Without these, a checker that never complains would look like a server that never fails."""

import pytest

from chaos import checker
from chaos.journal import Journal


class Story:
    """A journal that is told by hand: a publisher `p`, a kept session `s` and what happens to them. A second passes
    between two events, so that everything has time to spare unless `at` says otherwise."""

    def __init__(self):
        self.journal = Journal()
        self.now = 0.0

    def note(self, what, who="", **about):
        self.now = about.pop("at", self.now + 1)
        self.journal.note(what, who, self.now, **about)
        return self

    def opened(self, who, kept=True, present=False, will=None, topic="t/will", qos=1):
        return self.note("opened", who, kept=kept, present=present, will=will, topic=topic, qos=qos)

    def subscribed(self, who="s", name="t/#", qos=2, kept=True):
        return self.opened(who, kept).note("granted", who, filter=name, qos=qos)

    def sent(self, key, qos=1, topic="t/p", who="p", retain=False, empty=False):
        return self.note("sent", who, key=key, topic=topic, qos=qos, retain=retain, empty=empty)

    def acked(self, key, who="p"):
        return self.note("acked", who, key=key)

    def received(self, key, who="s", qos=1, topic="t/p", dup=False, new=True, **more):
        return self.note("received", who, key=key, topic=topic, qos=qos, dup=dup, new=new, **more)

    def receipted(self, key, who="s", **more):
        return self.note("receipted", who, key=key, **more)

    def settled(self, who="s", **more):
        return self.note("pinged", who, **more).note("settled", who, **more)

    def pushed(self, key, push, device="lamp"):
        return self.note("push_sent", key=key, device=device).note("push_acked", key=key, device=device, push=push)

    def breaks(self, *rules):
        """Exactly these rules are broken, each once."""
        found = checker.violations(self.journal)
        assert [sentence.split(":")[0] for sentence in found] == list(rules), found


@pytest.fixture
def story():
    return Story()


def test_a_good_life_has_no_violations(story):
    story.subscribed().sent("p:1", 2).acked("p:1").received("p:1", qos=2).receipted("p:1").settled()
    story.sent("p:2").note("killed").opened("s", present=True).note("resent", "p", key="p:2").acked("p:2")
    story.received("p:2").received("p:2", dup=True).sent("p:3", 0).received("p:3", qos=0).breaks()


# ---- acknowledged is kept ----


@pytest.mark.parametrize("qos", [1, 2])
def test_an_acknowledged_publish_that_never_comes_is_lost(story, qos):
    story.subscribed().sent("p:1", qos).acked("p:1").breaks("lost")


def test_what_was_not_acknowledged_or_sent_too_early_or_elsewhere_is_owed_to_nobody(story):
    story.sent("p:1").subscribed().sent("p:2").acked("p:1").sent("p:3", topic="u").acked("p:3")
    story.subscribed("clean", kept=False).subscribed("zero", qos=0).sent("p:4", who="p").breaks()


def test_a_publish_to_a_group_must_come_to_one_of_its_members(story):
    story.subscribed("a", "$share/g/t/#").subscribed("b", "$share/g/t/#")
    story.sent("p:1").acked("p:1").received("p:1", "b").sent("p:2").acked("p:2").breaks("lost")


def test_a_will_comes_when_its_client_or_the_server_died(story):
    story.subscribed().opened("m", False, will="w").note("closed", "m", polite=False).breaks("lost")


@pytest.mark.parametrize("healthy, wrong", [(True, ["lost"]), (False, [])])
def test_a_will_may_be_refused_by_a_bad_disk(story, healthy, wrong):
    story.note("started").subscribed().opened("m", False, will="w").note("killed").note("closed", "m", polite=False).note("started")
    if not healthy:
        story.note("disk_failed").note("started")
    story.breaks(*wrong)


def test_a_will_comes_never_after_a_goodbye(story):
    story.subscribed().opened("m", False, will="w").note("closed", "m", polite=True).breaks()
    story.received("w", topic="t/will").breaks("undue")


def test_a_will_may_come_when_the_goodbye_was_not_on_disk_yet(story):
    story.subscribed().opened("m", False, will="w").note("closed", "m", polite=True, at=10).note("killed", at=10.1)
    story.received("w", topic="t/will").breaks()


def test_a_will_may_come_when_the_goodbye_ran_into_the_kill(story):
    story.subscribed().opened("m", False, will="w").note("killed", at=10).note("closed", "m", polite=True, at=10.1)
    story.received("w", topic="t/will").breaks()


def test_pushes_that_were_acknowledged_come_and_are_listed(story):
    story.pushed("push:1", 1).note("received", "lamp", key="push:1", topic="me/push", qos=1, dup=False, new=True)
    story.pushed("push:2", 2).note("pushes_listed", pushes=[2]).breaks("lost", "lost")


def test_uploads_that_were_acknowledged_are_listed(story):
    story.note("upload_sent", "d", key=1).note("upload_acked", "d", key=1).note("upload_sent", "d", key=2)
    story.note("uploads_listed", device="d", keys=[]).note("uploads_listed", device="d", keys=[1, 2]).breaks("lost")


# ---- exactly once, in order ----


def test_exactly_once_is_not_twice(story):
    story.subscribed().sent("p:1", 2).received("p:1", qos=2).received("p:1", qos=2, dup=True, new=False).breaks()
    story.received("p:1", qos=2, dup=True).breaks("twice")


def test_exactly_once_holds_over_all_members_of_a_group(story):
    story.subscribed("a", "$share/g/t/#").subscribed("b", "$share/g/t/#")
    story.sent("p:1", 2).received("p:1", "a", qos=2).received("p:1", "b", qos=2).breaks("twice")


def test_exactly_once_holds_in_each_clean_session_alone(story):
    story.subscribed("c", kept=False).sent("p:1", 2).received("p:1", "c", qos=2).subscribed("c", kept=False).received("p:1", "c", qos=2).breaks()
    story.received("p:1", "c", qos=2).breaks("twice")


def test_at_least_once_may_be_twice(story):
    story.subscribed(qos=1).sent("p:1", 2).received("p:1").received("p:1").breaks()


def test_one_publishers_messages_keep_their_order(story):
    story.subscribed().sent("p:1").sent("p:2").received("p:2").received("p:1").breaks("order")


def test_what_was_sent_before_a_subscription_may_come_behind_when_it_is_sent_again(story):
    story.sent("p:1").subscribed().sent("p:2").received("p:2").note("resent", "p", key="p:1", topic="t/1", qos=1).received("p:1").breaks()


def test_repetitions_other_topics_and_other_qos_may_overtake(story):
    story.subscribed().sent("p:1").sent("p:2").received("p:1").received("p:2").received("p:1", dup=True)
    story.sent("p:3", topic="t/a").sent("p:4", 2).sent("p:5").received("p:5").received("p:4", qos=2).received("p:3", topic="t/a").breaks()


# ---- acknowledged is not sent again as new ----


def test_what_was_acknowledged_with_time_to_spare_is_not_sent_as_new(story):
    story.subscribed().sent("p:1").received("p:1").receipted("p:1").settled().note("killed").opened("s", present=True)
    story.received("p:1", dup=True).breaks()
    story.received("p:1").breaks("again")


def test_an_acknowledgement_that_was_not_read_or_not_on_disk_yet_does_not_count(story):
    story.subscribed().sent("p:1").received("p:1").receipted("p:1").note("closed", "s", polite=False).opened("s", present=True).received("p:1")
    story.receipted("p:1", at=20).settled(at=20.1).note("killed", at=20.2).opened("s", present=True).received("p:1").breaks()


def test_a_bad_disk_keeps_no_acknowledgements(story):
    story.note("started").subscribed().sent("p:1").received("p:1").receipted("p:1").settled().note("killed").note("disk_failed")
    story.note("started").opened("s", present=True).received("p:1").breaks()


def test_a_publisher_that_repeats_itself_may_have_made_two_of_one(story):
    story.subscribed().sent("p:1").received("p:1").receipted("p:1").settled().note("resent", "p", key="p:1").received("p:1").breaks()


# ---- sessions, retained values, states ----


def test_a_session_with_an_acknowledged_subscription_is_there_again(story):
    story.opened("s").opened("s").note("granted", "s", filter="t/#", qos=1).opened("s", present=True).breaks()
    story.opened("s", present=False).breaks("session")


def test_a_session_with_an_exactly_once_publish_is_there_again(story):
    story.opened("p").sent("p:1").acked("p:1").opened("p").sent("p:2", 2).acked("p:2").opened("p").breaks("session")


@pytest.mark.parametrize("found, wrong", [("v:1", ["retained"]), ("v:2", []), ("v:3", []), (None, ["retained"]), ("v:5", ["retained"])])
def test_a_retained_value_is_the_last_acknowledged_or_a_later_one(story, found, wrong):
    for key in ("v:1", "v:2"):
        story.sent(key, topic="r", retain=True).acked(key)
    story.sent("v:3", topic="r", retain=True).note("asked", "x", topic="r").note("retained", "x", topic="r", key=found).breaks(*wrong)


def test_a_value_that_was_cleared_is_gone_or_cleared_again(story):
    story.sent("v:1", topic="r", retain=True).acked("v:1").sent("v:2", topic="r", retain=True, empty=True).acked("v:2")
    story.note("asked", "x", topic="r").note("retained", "x", topic="r", key=None).breaks()
    story.note("asked", "x", topic="r").note("retained", "x", topic="r", key="v:1").breaks("retained")


@pytest.mark.parametrize("state, proof", [("delivered", "receipted"), ("applied", "answered")])
def test_a_state_never_claims_more_than_happened(story, state, proof):
    story.pushed("push:1", 7).note("received", "lamp", key="push:1", topic="me/push", qos=1, dup=False, new=True)
    story.note("push_state", push=7, state="sent").breaks()
    story.note("push_state", push=7, state=state).breaks("untrue")
    story.note(proof, "lamp", key="push:1").note("push_state", push=7, state=state).breaks("untrue")


def test_nothing_is_invented(story):
    story.subscribed().note("opening", "m", will="w").received("w", topic="t/will").breaks()
    story.sent("p:1").received("p:1", topic="t/q").received("broken b'x'").breaks("invented", "invented")


@pytest.mark.parametrize("name, topic, fits", [("t/#", "t", True), ("t/#", "t/a/b", True), ("t/+/1", "t/a/1", True), ("t/+/1", "t/a/2", False), ("t/+", "t/a/b", False), ("t/a", "t", False)])
def test_wildcards(name, topic, fits):
    assert checker.matches(name, topic) is fits
