"""Broker accounts: a program or a person uses espush as a plain MQTT broker, and may do what the account's rules
say, no more. With Debian's mosquitto_pub and mosquitto_sub, as such people do."""

import shutil
import subprocess

from harness import PATIENCE_S, unique
from mqtt_wire import Client, puback, publish, subscribe

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")


def account(server, *rules, **about):
    """Makes an account: its name and password."""
    made = server.api("POST", "/api/v1/accounts", {"name": unique("account"), "rules": list(rules), **about})
    return {"name": made["name"], "password": about.get("password") or made["password"], "number": made["id"]}


def client(server, who, name="", **options):
    return Client(server, client=name, user=who["name"], password=who["password"], **options)


def test_mosquitto_pub_and_sub_with_an_account(server):
    assert PUB and SUB, "mosquitto_pub and mosquitto_sub are missing; run: apt-get install mosquitto-clients"
    who = account(server, "allow both home/#", password="correct horse")
    common = ["-h", "127.0.0.1", "-p", str(server.ports["mqtt"]), "-u", who["name"], "-P", "correct horse", "-V", "311"]
    said = subprocess.run([PUB, *common, "-t", "home/door", "-m", "open", "-q", "1", "-r"], capture_output=True, timeout=PATIENCE_S)
    assert said.returncode == 0, said.stderr
    heard = subprocess.run([SUB, *common, "-t", "home/door", "-C", "1"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert heard.stdout == "open\n", heard
    refused = subprocess.run([SUB, *common, "-t", "garden/#"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert "denied" in refused.stderr.lower(), refused
    common[common.index("-P") + 1] = "wrong"
    kept_out = subprocess.run([PUB, *common, "-t", "home/door", "-n"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert kept_out.returncode != 0 and "refused" in kept_out.stderr.lower(), kept_out


def test_a_subscription_in_part_brings_that_part(server):
    home = unique("home")
    writer = account(server)
    reader = account(server, f"deny both {home}/safe", f"allow subscribe {home}/+")
    with client(server, writer) as pub, client(server, reader) as sub:
        pub.send(publish(f"{home}/safe", "kept", qos=1, number=9, retain=True)).expect(puback(9))
        pub.send(publish(f"{home}/old", "kept", qos=1, number=10, retain=True)).expect(puback(10))
        sub.subscribe(("#", 0))
        for number, topic in enumerate([f"{home}/safe", f"{home}/a/b", "elsewhere", f"{home}/door"], start=1):
            pub.send(publish(topic, topic, qos=1, number=number)).expect(puback(number))
        # The retained one may come twice: published elsewhere just before, it can still be on its way as well.
        seen = [sub.message()[0]]
        while seen[-1] != f"{home}/door":
            seen.append(sub.message()[0])
        assert set(seen) == {f"{home}/old", f"{home}/door"}, "of all the others, live or retained, none is for this account"


def test_a_filter_that_no_rule_allows_is_refused_and_a_publish_dropped(server):
    who = account(server, "allow subscribe a", "allow publish b/%u/%c")
    other = account(server)
    with server.events() as events, client(server, who, "phone") as line, client(server, other) as watching:
        watching.subscribe(("b/#", 0), ("a", 0))
        line.send(subscribe(5, ("a", 0), ("b/x", 1), ("me/push", 0), ("dev/lamp/#", 0)))
        line.expect(b"\x90\x06\x00\x05\x00\x80\x80\x80")
        line.send(publish("a", "no", qos=1, number=6)).expect(puback(6))
        events.until("fault", why=f'account "{who["name"]}": subscribe to "b/x": not allowed on this topic')
        events.until("fault", why=f'account "{who["name"]}": publish to "a": not allowed on this topic')
        line.send(publish(f"b/{who['name']}/phone", "yes", qos=1, number=7)).expect(puback(7))
        assert watching.message()[1] == b"yes", "the one before was acknowledged and dropped"


def test_an_account_reaches_devices_only_where_a_rule_names_them(server):
    device = server.device()
    free = account(server)
    bridge = account(server, f"allow publish dev/{device['id']}/push", "allow subscribe dev/+/log")
    with Client(server, device) as board, client(server, free) as stranger, client(server, bridge) as gateway:
        board.subscribe("me/push")
        stranger.send(publish(f"dev/{device['id']}/push", "no", qos=1, number=1)).expect(puback(1))
        gateway.send(publish(f"dev/{device['id']}/push", "yes", qos=1, number=1)).expect(puback(1))
        assert board.message()[:2] == ("me/push", b"yes")
        gateway.subscribe(("#", 0))
        board.send(publish("me/data/t", "1")).send(publish("me/log", "up"))
        assert gateway.message()[:2] == (f"dev/{device['id']}/log", b"up")


def test_a_change_of_password_rules_or_account_ends_the_lines(server):
    who = account(server, "allow both a")
    path = f"/api/v1/accounts/{who['number']}"
    # One name, so one shard: an end that is on its way to the other shard must not meet the next line there.
    name = unique("client")
    with client(server, who, name) as line:
        who["password"] = server.api("POST", f"{path}/password")["password"]
        line.expect_end()
    with client(server, who, name) as line:
        server.api("PATCH", path, {"rules": ["allow both b"]})
        line.expect_end()
    with client(server, who, name) as line:
        line.send(subscribe(1, ("a", 0), ("b", 0))).expect(b"\x90\x04\x00\x01\x80\x00")
        server.api("DELETE", path)
        line.expect_end()
    with client(server, who, greet=False) as line:
        line.expect(b"\x20\x02\x00\x04")


def test_accounts_outlive_a_restart(fresh):
    first = fresh()
    who = account(first, "allow both a")
    first.stop()
    again = fresh(data=first.data)
    with client(again, who) as line:
        line.send(subscribe(1, ("a", 0), ("b", 0))).expect(b"\x90\x04\x00\x01\x00\x80")


def test_clients_without_credentials_have_the_rules_of_anonymous(fresh):
    server = fresh(settings={"auth.anonymous": "true"})
    with Client(server, client="early") as line:
        line.subscribe(("anything", 0))
        server.api("POST", "/api/v1/accounts", {"name": "anonymous", "rules": ["allow subscribe news/#"]})
        line.expect_end()
    with Client(server, client="early") as line:
        line.send(subscribe(1, ("anything", 0), ("news/#", 0))).expect(b"\x90\x04\x00\x01\x80\x00")


def test_many_clients_of_one_account_at_once(server):
    who = account(server)
    lines = [Client(server, client=f"c{number}", user=who["name"], password=who["password"], greet=False) for number in range(200)]
    for line in lines:
        line.expect(b"\x20\x02\x00\x00").close()


def test_guessing_is_slowed_down_and_the_owner_sees_why(server):
    who = account(server)
    for number in range(10):
        with client(server, {**who, "password": f"guess {number}"}, greet=False) as line:
            line.expect(b"\x20\x02\x00\x04")
    with client(server, {**who, "password": "guess 0"}, greet=False) as line:
        line.expect(b"\x20\x02\x00\x04")
    with server.events() as events, client(server, who, "phone", greet=False) as line:
        line.expect(b"\x20\x02\x00\x03").expect_end()
        why = "too many wrong passwords for this account from this address; wait a minute"
        events.until("knock", claim=f'user "{who["name"]}", client "phone"', reason=why)


def test_the_command_line_makes_shows_changes_and_removes(server):
    name = unique("cli")
    made = server.cli("account", "add", name, "--rule", "allow both a/#")
    assert made.returncode == 0 and len(made.stdout.strip()) == 32 and "not shown again" in made.stderr, made
    who = {"name": name, "password": made.stdout.strip()}
    with client(server, who) as line:
        line.subscribe(("a/b", 0))
    assert name in server.cli("account", "list").stdout
    changed = server.cli("account", "rule", name, "--first", "deny both a/b", "--add", "allow publish c", "--json")
    assert changed.returncode == 0, changed.stderr
    shown = server.cli("account", "show", name).stdout
    assert [row.strip() for row in shown.splitlines()[1:]] == ["deny both a/b", "allow both a/#", "allow publish c"]
    again = server.cli("account", "passwd", name, "--password-stdin", stdin="correct horse\n")
    assert again.returncode == 0 and "correct" not in again.stdout + again.stderr, again
    client(server, {"name": name, "password": "correct horse"}).close()
    wrong = server.cli("account", "rule", name, "--add", "permit both x")
    assert wrong.returncode == 1 and "allow or deny" in wrong.stderr, wrong
    assert server.cli("account", "delete", name).returncode == 0
    gone = server.cli("account", "show", name)
    assert gone.returncode == 1 and "espush account list" in gone.stderr, gone
