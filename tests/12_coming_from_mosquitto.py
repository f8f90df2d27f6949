"""Coming over from Mosquitto: with the files of a real installation, a real Mosquitto and espush give the same
answers to the question who may do what. The files are made by mosquitto_passwd; the oracle is Debian's mosquitto."""

import getpass
import importlib
import itertools
import json
import re
import shutil
import socket
import subprocess

import pytest

from harness import PATIENCE_S, PROGRAM, ROOT, Line, Server, clean_environment
from mqtt_wire import PING, PONG, Client, connect, packet, publish, subscribe

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
PASSWD = shutil.which("mosquitto_passwd")

ACL = """\
# before the first user: clients without a name
topic read news/#
topic deny news/secret
topic readwrite board

user root
topic readwrite #

user ann
topic readwrite home/#
topic deny home/safe
topic deny home/cellar/#
topic readwrite home/cellar/wine
topic write inbox
topic read outbox
topic read a b/c
topic +/public
topic read p/ann/bad

user bob
topic deny #
topic readwrite home/door

user dave
topic deny home/+
topic home/#
topic read board

pattern readwrite own/%u/#
pattern read client/%c
pattern write %u/%c/state
pattern deny own/+/bad
pattern deny p/ann/bad
"""

USERS = {"root": "sha512-pbkdf2", "ann": "sha512-pbkdf2", "bob": "sha512", "carol": "sha512", "dave": "sha512-pbkdf2"}
CLIENTS = ["phone", "a/b", "x+y", "#"]
TOPICS = [
    "news/today", "news/secret", "board", "home", "home/door", "home/safe", "home/safe/deep", "home/cellar", "home/cellar/wine",
    "inbox", "outbox", "a b/c", "x/public", "x/y/public", "own/ann/x", "own/ann", "own/ann/bad", "own/bob/x", "own/carol/x", "p/ann/bad",
    "client/phone", "client/a/b", "client/x+y".replace("+", "-"), "ann/phone/state", "ann/a/b/state", "carol/phone/state", "elsewhere",
]  # fmt: skip


def password(user):
    return f"{user}'s password"


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """/etc/mosquitto of somebody."""
    assert MOSQUITTO and PASSWD, "mosquitto is missing; run: apt-get install mosquitto"
    home = tmp_path_factory.mktemp("mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    (home / "passwd").touch(mode=0o600)
    for user, method in USERS.items():
        subprocess.run([PASSWD, "-H", method, "-b", home / "passwd", user, password(user)], check=True, timeout=PATIENCE_S)
    (home / "acl").write_text(ACL)
    (home / "acl").chmod(0o600)
    (home / "mosquitto.conf").write_text(
        f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\nallow_anonymous true\npassword_file {home}/passwd\n"
        f"acl_file {home}/acl\nmax_queued_messages 500\nmax_connections -1\n"
    )
    return home, port


@pytest.fixture(scope="module")
def oracle(installation):
    """The real Mosquitto on these files: its port."""
    home, port = installation
    process = subprocess.Popen([MOSQUITTO, "-c", home / "mosquitto.conf"], stderr=subprocess.PIPE, text=True)
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.rstrip().endswith(" running"):
            break
    else:
        raise AssertionError(f"mosquitto did not start: {seen}")
    yield port
    process.terminate()
    process.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def moved(installation, tmp_path_factory):
    """espush after the migration of these files."""
    home, _ = installation
    place = tmp_path_factory.mktemp("moved")
    config = place / "espush.toml"
    told = subprocess.run(
        [PROGRAM, "migrate", "mosquitto", home / "mosquitto.conf", "--out", config],
        capture_output=True, text=True, timeout=PATIENCE_S, env=clean_environment(),
    )  # fmt: skip
    assert told.returncode == 0, told
    assert f"{home}/mosquitto.conf:7: left out: `max_connections -1`" in told.stderr, told.stderr
    # One shard: then what was published comes before the answer to a ping.
    settings = {"shards": "1"}
    with Server(place / "data", settings=settings, program_arguments=["--config", str(config)]) as server:
        for time in ["made", "was there"]:
            done = server.cli("migrate", "mosquitto", str(home / "mosquitto.conf"), "--apply")
            assert done.returncode == 0, done
            assert done.stderr.count(f": {time}") == len(USERS) + 1, done.stderr
        yield server


class Probe(Line):
    """A client that asks what it may do."""

    def __init__(self, port, user, client):
        super().__init__(port)
        names = {"user": user, "password": password(user)} if user else {}
        self.send(connect(client=client, **names)).expect(b"\x20\x02\x00\x00")

    receive = Client.receive

    def subscribe(self, name):
        """Whether it was granted is not looked at: what counts is what comes."""
        self.send(subscribe(1, (name, 0)))
        first, body = self.receive()
        assert (first, body[:2]) == (0x90, b"\x00\x01")

    def seen(self, end=PING):
        """The topics of what came before the answer to a ping, or before a message of our own."""
        topics = set()
        self.send(end)
        while True:
            first, body = self.receive()
            if packet(first, body) == (PONG if end == PING else end):
                return topics
            topics.add(body[2 : 2 + int.from_bytes(body[:2], "big")].decode())

    def publish(self, topic):
        self.send(publish(topic, "x", qos=1, number=7))
        assert self.receive() == (0x40, b"\x00\x07"), "acknowledged, allowed or not"


def answers(port):
    """Who may do what: every (user, client, topic, action) that is allowed."""
    allowed = set()
    # What was sent before it has been given to everybody when it comes back: messages to one client keep
    # their order, and both brokers are done with all clients before they read again.
    end = publish("end", "of this question")
    with Probe(port, "root", "admin") as admin:
        admin.subscribe("#")
        for user, client in itertools.product([None, *USERS], CLIENTS):
            for wanted in ["#", None]:
                with Probe(port, user, client) as probe:
                    for topic in [wanted] if wanted else TOPICS:
                        probe.subscribe(topic)
                    for topic in TOPICS:
                        admin.send(publish(topic, "x"))
                    admin.seen(end)
                    action = "read by #" if wanted else "read"
                    allowed |= {(user, client, topic, action) for topic in probe.seen() - {"end"}}
            with Probe(port, user, client) as probe:
                for topic in TOPICS:
                    probe.publish(topic)
                allowed |= {(user, client, topic, "write") for topic in admin.seen(end)}
    return allowed


def test_espush_gives_the_answers_that_mosquitto_gives(oracle, moved):
    theirs, ours = answers(oracle), answers(moved.ports["mqtt"])
    assert {action for *_, action in theirs} == {"read", "read by #", "write"}
    show = lambda rows: "\n".join(sorted(str(row) for row in rows))
    assert ours == theirs, f"only Mosquitto allows:\n{show(theirs - ours)}\nonly espush allows:\n{show(ours - theirs)}"


def test_a_wrong_password_keeps_out_and_a_good_one_is_hashed_anew(moved):
    with Line(moved.ports["mqtt"]) as line:
        line.send(connect(client="x", user="ann", password="wrong")).expect(b"\x20\x02\x00\x04")
    for user in USERS:
        Probe(moved.ports["mqtt"], user, "x").close()
    kinds = {row["name"]: row["password_kind"] for row in moved.api("GET", "/api/v1/accounts")["items"]}
    assert kinds == {"anonymous": "none", **{user: "argon2id" for user in USERS}}


def test_the_report_for_machines_holds_everything(installation):
    from harness import PROGRAM, clean_environment

    home, port = installation
    done = subprocess.run(
        [PROGRAM, "migrate", "mosquitto", home / "mosquitto.conf", "--json"],
        capture_output=True, text=True, timeout=PATIENCE_S, env=clean_environment(),
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert f'mqtt.listen = "127.0.0.1:{port}"' in report["config"]
    assert [account["name"] for account in report["accounts"]] == ["anonymous", *USERS]
    assert {note["outcome"] for note in report["notes"]} == {"left_out", "not_needed"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_true(fresh, tmp_path, language):
    """docs/*/coming-from-mosquitto.md: its files, its commands, and what they print."""
    pages = importlib.import_module("08_first_minute")
    page = (ROOT / "docs" / language / "coming-from-mosquitto.md").read_text()
    for kind, name in [("conf", "mosquitto.conf"), ("acl", "acl")]:
        text = re.search(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE).group(1)
        # Not the files of this machine.
        (tmp_path / name).write_text(text.replace("/etc/mosquitto/", f"{tmp_path}/"))
    for user in ["ann", "bob"]:
        (tmp_path / "passwd").touch(mode=0o600)
        subprocess.run([PASSWD, "-b", tmp_path / "passwd", user, password(user)], check=True, timeout=PATIENCE_S)
    shell = pages.Shell(fresh(data=tmp_path / "espush-data"))
    try:
        for command, wanted in pages.steps(page):
            said = shell.run(command)
            assert pages.pattern(wanted).fullmatch(said), f"$ {command}\nprinted\n{said}\nand the page says\n" + "\n".join(wanted)
    finally:
        shell.close()


def test_both_pages_have_the_same_commands():
    pages = importlib.import_module("08_first_minute")
    english, chinese = (pages.steps((ROOT / "docs" / lang / "coming-from-mosquitto.md").read_text()) for lang in ["en", "zh"])
    assert english == chinese and english
