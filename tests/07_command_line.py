"""Everything on screen is available on the command line: for people in tables and sentences, for machines with
--json and exit codes."""

import json
import queue
import subprocess
import threading

from harness import PATIENCE_S, PROGRAM, clean_environment, hx, unique
from mqtt_wire import Client, puback, publish


def cli_json(server, *arguments):
    done = server.cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_app_and_a_device_from_nothing_to_gone(server):
    app = cli_json(server, "app", "add", "灯具", "--open")
    number = str(app["id"])
    assert app["open"] is True and len(app["key"]) == 32
    assert cli_json(server, "app", "edit", number, "--setting", "espush.text=gbk")["settings"] == {"espush.text": "gbk"}
    listed = server.cli("app", "list").stdout
    assert "灯具" in listed and app["key"] in listed

    known = cli_json(server, "app", "add", "field", "--id", "15000", "--key", "25b28f0ffb9711e4a96d446d579b49a1")
    assert (known["id"], known["key"]) == (15000, "25b28f0ffb9711e4a96d446d579b49a1")

    name = unique("cli")
    added = server.cli("device", "add", name, "--app", number, "--name", "客厅", "--tag", "a", "--tag", "b")
    assert added.returncode == 0 and "secret" in added.stdout and "not shown again" in added.stderr
    device = cli_json(server, "device", "show", name)
    assert (device["name"], device["tags"], "secret" in device) == ("客厅", ["a", "b"], False)
    assert cli_json(server, "device", "edit", name, "--tag", "c", "--alias", "lounge")["tags"] == ["c"]
    assert [row["id"] for row in cli_json(server, "device", "list", "-q", name)["items"]] == [name]
    assert cli_json(server, "device", "list", "--online", "-q", name)["items"] == []
    secret = cli_json(server, "device", "secret", name)["secret"]
    with Client(server, {"id": name, "secret": secret}):
        server.until_online(name)
        assert cli_json(server, "device", "list", "--online", "-q", name)["items"][0]["protocol"] == "mqtt"

    refused = server.cli("app", "delete", number)
    assert refused.returncode == 1 and refused.stderr.startswith("espush: ")
    assert server.cli("device", "delete", name).returncode == 0
    assert server.cli("app", "delete", number).returncode == 0
    gone = server.cli("device", "show", name)
    assert gone.returncode == 1 and gone.stderr.strip()


def test_push_says_by_its_exit_code_what_happened(server, background):
    device = server.device()
    name = device["id"]
    assert server.cli("push", name, "later", "--wait", "0").returncode == 2
    assert server.cli("push", unique("nobody"), "x").returncode == 1
    with Client(server, device) as client:
        client.subscribe("me/push", "me/ask/+", "me/cmd/+/+")
        _, payload, _, number, _ = client.message()
        assert payload == b"later"
        client.send(puback(number))

        call = background(server.cli, "push", name, "0c 01", "--hex", "--wait", "30s")
        _, payload, _, number, _ = client.message()
        client.send(puback(number))
        done = call.result()
        assert (payload, done.returncode, done.stdout) == (b"\x0c\x01", 0, "delivered\n")

        call = background(server.cli, "push", name, "--ask", "--file", "-", "--wait", "30s", stdin="from a pipe")
        topic, payload, _, number, _ = client.message()
        client.send(puback(number)).send(publish(topic.replace("/ask/", "/answer/"), "fine", qos=1, number=9)).expect(puback(9))
        done = call.result()
        assert (payload, done.returncode, done.stdout) == (b"from a pipe", 0, "applied\nfine\n")

        call = background(server.cli, "push", name, "--command", "reboot", "--wait", "300ms")
        topic, _, _, number, _ = client.message()
        assert topic.startswith("me/cmd/reboot/")
        client.send(puback(number))
        assert call.result().returncode == 4, "it was delivered, and no answer came"


def test_a_refused_push_is_3(server):
    app = server.app(open=True)
    with server.line("espush") as board:
        # The 50-byte registration: firmware that old may not know how to read pins.
        body = app["id"].to_bytes(4, "big") + app["key"].encode() + (77).to_bytes(4, "big")
        board.send(hx("00 00 00 32 00 00 00 01 00 00") + body).expect("00 00 00 0b 00 00 00 01 00 01 00")
        done = server.cli("push", f"{app['id']}-77", "--command", "gpio.read")
        assert done.returncode == 3 and "espush.accepts" in done.stdout


def test_what_was_pushed_said_and_refused_can_be_looked_up(server):
    device = server.device()
    name = device["id"]
    push = server.push(name, "look me up")["push"]
    assert any(line.split()[0] == str(push) and "1 queued" in line for line in server.cli("pushes", "list").stdout.splitlines())
    shown = server.cli("pushes", "show", str(push)).stdout
    assert "look me up" in shown and name in shown
    assert server.cli("pushes", "cancel", str(push)).returncode == 0
    assert cli_json(server, "pushes", "show", str(push))["deliveries"][0]["state"] == "cancelled"
    with Client(server, device) as client:
        client.send(publish("me/data/note", "\x1b[2J hello", qos=1, number=1)).expect(puback(1))
    said = server.cli("messages", name).stdout
    assert "me" not in said.split() and "dev/" in said and "\x1b" not in said
    with Client(server, greet=False, user=name, password="wrong") as client:
        client.expect(b"\x20\x02\x00\x04")
    knocks = server.cli("knocks").stdout
    assert name in knocks and "wrong secret" in knocks


def test_data_as_a_table_and_as_csv(server):
    device = server.device()
    server.api("POST", f"/api/v1/devices/{device['id']}/points", [{"stream": "t", "value": n, "at": 1700000000000 + n} for n in range(3)])
    latest = server.cli("data", device["id"]).stdout.splitlines()
    assert latest[0].split() == ["AT", "STREAM", "VALUE"] and latest[1].split()[1:] == ["t", "2"]
    assert len(server.cli("data", device["id"], "--stream", "t").stdout.splitlines()) == 4
    assert len(server.cli("data", device["id"], "--csv").stdout.splitlines()) == 4
    assert server.cli("data", device["id"], "--from", "1h").stdout.startswith("no data")
    assert len(cli_json(server, "data", device["id"], "--stream", "t", "--limit", "2")["items"]) == 2


def test_tokens_may_do_what_their_role_says_until_they_are_ended(server):
    token = server.cli("token", "add", "ci", "--role", "viewer", "--expires", "1h").stdout.strip()
    assert server.api("GET", "/api/v1/session", token=token)["role"] == "viewer"
    denied = server.cli("app", "add", "no", "--token", token)
    assert denied.returncode == 1 and denied.stderr.strip()
    (row,) = [row for row in cli_json(server, "token", "list")["items"] if row["name"] == "ci"]
    assert server.cli("token", "delete", str(row["id"])).returncode == 0
    server.api("GET", "/api/v1/session", token=token, status=401)
    assert "/signin#" in server.cli("token", "signin").stdout


def test_tail_follows_and_comes_back_after_a_restart(fresh):
    server = fresh()
    device = server.device()
    port = server.ports["http"]
    tail = subprocess.Popen(
        [str(PROGRAM), "tail", "--json", "--device", device["id"], "--data", str(server.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    said, events = queue.Queue(), queue.Queue()
    for pipe, into in ((tail.stderr, said), (tail.stdout, events)):
        threading.Thread(target=lambda pipe=pipe, into=into: [into.put(line) for line in pipe], daemon=True).start()
    try:
        assert "following" in said.get(timeout=PATIENCE_S)
        server.api("POST", f"/api/v1/devices/{device['id']}/points", {"n": 1})
        assert json.loads(events.get(timeout=PATIENCE_S))["data"]["items"][0]["value"] == 1
        server.stop()
        assert "trying again" in said.get(timeout=PATIENCE_S)
        again = fresh(data=server.data, settings={"http.listen": f"127.0.0.1:{port}"})
        assert "following" in said.get(timeout=PATIENCE_S)
        again.api("POST", f"/api/v1/devices/{device['id']}/points", {"n": 2})
        while (event := json.loads(events.get(timeout=PATIENCE_S)))["event"] != "points":
            pass
        assert event["data"]["items"][0]["value"] == 2
    finally:
        tail.kill()
        tail.wait(PATIENCE_S)
        tail.stdout.close()
        tail.stderr.close()


def test_the_virtual_boards_are_devices_like_others(server):
    app = server.app(open=True)
    for protocol in ("mqtt", "espush"):
        sim = subprocess.Popen(
            [str(PROGRAM), "sim", "--protocol", protocol, "--count", "2", "--app", str(app["id"]), "--key", app["key"]]
            + ["--host", "127.0.0.1", "--port", str(server.ports[protocol]), "--interval", "100ms"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        try:
            with server.events() as events:
                measured = {events.until("points")["device"]}
                while len(measured) < 2:
                    measured.add(events.until("points")["device"])
            assert all(name.startswith(f"{app['id']}-") for name in measured)
            done = server.cli("push", measured.pop(), "toggle", "--wait", "30s")
            assert done.returncode == 0, done.stdout + done.stderr
        finally:
            sim.terminate()
            sim.communicate(timeout=PATIENCE_S)
