"""What is wanted of a device and what it tells of itself: versions, merge patches, what differs on every return, refusal
of stale orders, history; and what was acknowledged is there after a kill."""

import http.client
import json
from urllib.parse import quote

from harness import Server, unique
from mqtt_wire import Client, packet, puback, publish, text


def twin(server, device):
    return server.api("GET", f"/api/v1/devices/{device['id']}/twin")


def want(server, device, patch, **more):
    return server.api("PATCH", f"/api/v1/devices/{device['id']}/twin/desired", patch, **more)


def history(server, device, query=""):
    return server.api("GET", f"/api/v1/devices/{device['id']}/twin/history{query}")


def report(client, number, patch):
    """A report at QoS 1: the next that comes back is its acknowledgement."""
    body = patch if isinstance(patch, (str, bytes)) else json.dumps(patch)
    client.send(publish("me/twin/reported", body, qos=1, number=number)).expect(puback(number))


def desired(client):
    """The next message, which must be what is wanted."""
    topic, payload, qos, number, retain = client.message()
    assert topic == "me/twin/desired" and not retain, (topic, retain)
    if qos:
        client.send(puback(number))
    return json.loads(payload)


def silent(client, number):
    """Nothing was said before: two reports are acknowledged, the later one after all that came before it."""
    report(client, number, {})
    report(client, number + 1, {})


def test_a_device_follows_what_is_wanted_of_it(server):
    device = server.device()
    assert twin(server, device) == {
        "desired": {"value": {}, "version": 0, "at": None},
        "reported": {"value": {}, "version": 0, "at": None},
        "delta": {},
        "acknowledged": None,
    }
    with Client(server, device) as client:
        client.subscribe("me/twin/desired")
        silent(client, 1)
        shown = want(server, device, {"led": "on", "wifi": {"power": 17}})
        assert (shown["desired"]["version"], shown["delta"]) == (1, {"led": "on", "wifi": {"power": 17}})
        assert desired(client) == {"led": "on", "wifi": {"power": 17}, "$version": 1}
        report(client, 3, {"led": "on", "wifi": {"power": 17.0, "rssi": -60}, "$version": 1})
        shown = twin(server, device)
        assert shown["reported"]["value"] == {"led": "on", "wifi": {"power": 17.0, "rssi": -60}}
        assert (shown["reported"]["version"], shown["delta"], shown["acknowledged"]) == (1, {}, 1)
        want(server, device, {"led": "on"})
        silent(client, 4)
        want(server, device, {"led": None})
        assert desired(client) == {"led": None, "$version": 2}
        report(client, 6, {"led": None})
        assert twin(server, device)["delta"] == {}


def test_one_that_was_away_is_given_what_differs(server):
    device = server.device()
    with Client(server, device) as client:
        report(client, 1, {"led": "off", "mode": "eco"})
    want(server, device, {"led": "on"})
    want(server, device, {"mode": "eco", "every": 5})
    for _ in range(2):
        with Client(server, device) as client:
            client.subscribe("me/push", "me/twin/desired", "me/ask/+")
            assert desired(client) == {"led": "on", "every": 5, "$version": 2}
            silent(client, 1)
    with Client(server, device) as client:
        # At QoS 0 and by a wildcard it is the same.
        client.subscribe(("me/+/desired", 0))
        assert desired(client) == {"led": "on", "every": 5, "$version": 2}
        report(client, 3, {"led": "on", "every": 5})
    with Client(server, device) as client:
        client.subscribe("me/twin/desired")
        silent(client, 1)


def test_a_kept_session_is_given_it_once_and_nothing_of_before(server):
    device = server.device()
    with Client(server, device, clean=False) as client:
        client.subscribe("me/twin/desired")
        client.goodbye()
    for led in ("on", "off", "blue"):
        want(server, device, {"led": led})
    with Client(server, device, clean=False, greet=False) as client:
        client.expect("20 02 01 00")
        assert desired(client) == {"led": "blue", "$version": 3}
        silent(client, 1)


def test_what_was_acknowledged_survives_kill_9(fresh):
    server = fresh()
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/twin/desired")
        for number in range(1, 31):
            report(client, number, {"n": number})
        want(server, device, {"led": "on"})
        server.kill()
    again = fresh(data=server.data)
    shown = twin(again, device)
    assert (shown["reported"]["value"], shown["reported"]["version"]) == ({"n": 30}, 30)
    assert (shown["desired"]["value"], shown["desired"]["version"]) == ({"led": "on"}, 1)
    assert len(history(again, device)["items"]) == 31
    with Client(again, device) as client:
        client.subscribe("me/twin/desired")
        assert desired(client) == {"led": "on", "$version": 1}
    again.kill()
    # An order without a device: acknowledged, killed, and given all the same.
    third = fresh(data=server.data)
    want(third, device, {"led": "off"})
    third.kill()
    last = fresh(data=server.data)
    with Client(last, device) as client:
        client.subscribe("me/twin/desired")
        assert desired(client) == {"led": "off", "$version": 2}


def test_nothing_acknowledged_is_lost_when_it_dies_in_the_middle_of_it(fresh, background):
    server = fresh()
    device = server.device()
    answered = [0]

    def order():
        try:
            while True:
                want(server, device, {"m": answered[-1] + 1})
                answered.append(answered[-1] + 1)
        except (OSError, http.client.HTTPException):
            return

    with Client(server, device) as client:
        ordering = background(order)
        reports = (publish("me/twin/reported", json.dumps({"n": n}), qos=1, number=n) for n in range(1, 1001))
        client.send(b"".join(reports))
        for number in range(1, 301):
            client.expect(puback(number))
        server.kill()
    ordering.result()
    shown = twin(fresh(data=server.data), device)
    reported, desired = shown["reported"], shown["desired"]
    assert 300 <= reported["value"]["n"] <= 1000 and reported["version"] == reported["value"]["n"]
    # The last one may have been written without its answer.
    assert desired["version"] == desired["value"].get("m", 0) and desired["version"] - answered[-1] in (0, 1)


def test_a_stale_order_is_refused(server):
    device = server.device()
    path = f"/api/v1/devices/{device['id']}/twin/desired"
    want(server, device, {"led": "on"})
    assert server.api("PATCH", f"{path}?version=1", {"led": "off"})["desired"]["version"] == 2
    problem = server.api("PATCH", f"{path}?version=1", {"led": "blue"}, status=409)
    assert problem["code"] == "version_conflict" and "2" in problem["hint"], problem
    for header, status in [('"1"', 409), ('"2"', 200), ("*", 200), ("x", 400)]:
        body = {"led": f"by {header}"}
        got, _, raw = server.request("PATCH", path, body, headers={"If-Match": header})
        assert got == status, (header, raw)
    replaced = server.api("PUT", path, {"mode": {"a": 1, "b": None}})
    assert replaced["desired"] == {"value": {"mode": {"a": 1}}, "version": 5, "at": replaced["desired"]["at"]}
    assert server.api("PUT", f"{path}?version=4", {}, status=409)["code"] == "version_conflict"


def test_every_change_is_in_the_history(server):
    device = server.device()
    want(server, device, {"led": "on", "n": 1})
    with Client(server, device) as client:
        report(client, 1, {"led": "on"})
        report(client, 2, {"led": "on"})
    want(server, device, {"n": None})
    items = history(server, device)["items"]
    told = [(item["part"], item["version"], item["patch"]) for item in items]
    assert told == [("desired", 2, {"n": None}), ("reported", 1, {"led": "on"}), ("desired", 1, {"led": "on", "n": 1})]
    assert items[1]["who"] == "device" and items[0]["who"] not in ("", "device")
    page = history(server, device, "?part=desired&limit=1")
    assert [item["version"] for item in page["items"]] == [2]
    page = history(server, device, f"?part=desired&limit=1&cursor={page['next']}")
    assert ([item["version"] for item in page["items"]], page["next"]) == ([1], None)
    assert server.api("GET", f"/api/v1/devices/{device['id']}/twin/history?part=x", status=400)["code"] == "bad_query"
    with Client(server, device) as client:
        for number in range(1, 131):
            report(client, number, {"n": number})
    kept = history(server, device, "?part=reported&limit=1000")["items"]
    assert [item["version"] for item in kept] == list(range(131, 31, -1))
    assert len(history(server, device, "?part=desired")["items"]) == 2, "one part leaves the other its history"


def test_what_cannot_be_a_twin_is_refused(server):
    device = server.device()
    path = f"/api/v1/devices/{device['id']}/twin/desired"
    deep = {"a": 1}
    for _ in range(8):
        deep = {"a": deep}
    for body, status, code in [
        ("[1]", 400, "bad_field"),
        ("{", 400, "bad_json"),
        (json.dumps({"$version": 1}), 400, "bad_twin"),
        (json.dumps(deep), 400, "bad_twin"),
        (json.dumps({"a": "x" * 9000}), 413, "twin_too_large"),
    ]:
        assert server.api("PATCH", path, body, status=status)["code"] == code, body
    server.api("GET", "/api/v1/devices/nobody/twin", status=404)
    for bad in ["{not json", "[]", "on", json.dumps({"$version": "1"}), json.dumps(deep), json.dumps({"a": "x" * 9000}), b"\xff"]:
        with Client(server, device) as client:
            client.send(publish("me/twin/reported", bad, qos=1, number=1)).expect_end()
    with Client(server, device) as client:
        # At QoS 0 nobody waits for an answer; the line stays.
        client.send(publish("me/twin/reported", "{not json"))
        report(client, 1, {"fine": True})
    shown = twin(server, device)
    assert (shown["reported"]["value"], shown["desired"]["version"]) == ({"fine": True}, 0)


def test_an_mqtt_5_device_is_told_why(server):
    device = server.device()
    connect = text("MQTT") + bytes([5, 0xC2]) + (60).to_bytes(2, "big") + b"\0"
    line = Client.__new__(Client)
    super(Client, line).__init__(server.ports["mqtt"])
    with line:
        line.send(packet(0x10, connect + text(device["id"]) + text(device["id"]) + text(device["secret"])))
        first, body = line.receive()
        assert first == 0x20 and body[1] == 0, body
        for number, (payload, reason) in enumerate([("{", 0x99), (json.dumps({"a": "x" * 9000}), 0x97), ("{}", 0)], start=1):
            line.send(packet(0x32, text("me/twin/reported") + number.to_bytes(2, "big") + b"\0" + payload.encode()))
            first, body = line.receive()
            assert first == 0x40 and int.from_bytes(body[:2], "big") == number
            assert (body[2] if len(body) > 2 else 0) == reason, body


def test_queries_see_twins(server):
    app = server.app()
    lamp, fan = server.device(app), server.device(app)

    def found(query):
        whole = quote(f"app = {app['id']} and {query}")
        listed = server.api("GET", f"/api/v1/devices?where={whole}")["items"]
        return {item["id"] for item in listed}

    assert found("twin.led = on") == set()
    with Client(server, lamp) as client:
        report(client, 1, {"led": "on", "wifi": {"rssi": -70}})
        assert found("twin.led = on") == {lamp["id"]}, "what is acknowledged is found"
        report(client, 2, {"led": "off"})
    want(server, fan, {"led": "on"})
    assert (found("twin.led = on"), found("twin.led = off")) == (set(), {lamp["id"]})
    assert (found("twin.wifi.rssi < -60"), found("twin.desired.led = on")) == ({lamp["id"]}, {fan["id"]})
    audience = {"where": f"app = {app['id']} and twin.desired.led = on"}
    preview = server.api("POST", "/api/v1/push/preview", {"audience": audience, "text": "x"})
    assert [item["device"] for item in preview["items"]] == [fan["id"]]
    pushed = server.api("POST", "/api/v1/push", {"audience": audience, "text": "x", "wait_ms": 10_000})
    assert [delivery["device"] for delivery in pushed["deliveries"]] == [fan["id"]]
    wrong = server.api("GET", "/api/v1/devices?where=twin%20=%201", status=400)
    assert wrong["code"] == "bad_where" and "twin.led" in wrong["hint"], wrong
    server.api("DELETE", f"/api/v1/devices/{lamp['id']}")
    assert found("twin.led = off") == set()


def test_changes_are_told_live_and_in_the_audit_log(server):
    device = server.device()
    with server.events(device["id"]) as events, Client(server, device) as client:
        want(server, device, {"led": "on"})
        told = events.until("twin", part="desired")
        assert (told["device"], told["version"], told["patch"], told["owed"]) == (device["id"], 1, {"led": "on"}, True)
        report(client, 1, {"led": "on"})
        told = events.until("twin", part="reported")
        assert (told["who"], told["patch"], told["owed"]) == ("device", {"led": "on"}, False)
    (entry,) = server.api("GET", f"/api/v1/audit?target={device['id']}&call=twin")["items"]
    assert (entry["call"], entry["fields"]) == ("PATCH /api/v1/devices/{id}/twin/desired", ["led"])
    viewer = server.api("POST", "/api/v1/tokens", {"name": unique("viewer"), "role": "viewer"})["token"]
    assert server.api("GET", f"/api/v1/devices/{device['id']}/twin", token=viewer)["delta"] == {}
    assert want(server, device, {"a": 1}, token=viewer, status=403)["code"] == "role_too_low"
    messages = server.api("GET", f"/api/v1/devices/{device['id']}/messages")["items"]
    assert [item["topic"] for item in messages] == [f"dev/{device['id']}/twin/reported"]


def test_a_twin_goes_with_its_device_and_comes_back_with_a_backup(fresh, tmp_path):
    server = fresh()
    device = server.device()
    want(server, device, {"led": "on"})
    file = tmp_path / "twins.espush-backup"
    backup = server.cli("backup", str(file))
    assert backup.returncode == 0, backup
    server.api("DELETE", f"/api/v1/devices/{device['id']}")
    server.api("GET", f"/api/v1/devices/{device['id']}/twin", status=404)
    server.api("POST", "/api/v1/devices", {"app": device["app"], "id": device["id"]})
    assert twin(server, device)["desired"]["version"] == 0
    server.stop()
    restored = Server(tmp_path / "restored")
    brought = restored.cli("restore", str(file))
    assert brought.returncode == 0, brought
    assert twin(fresh(data=restored.data), device)["desired"]["value"] == {"led": "on"}


def test_the_command_line_shows_and_changes_it(server):
    device = server.device()
    name = device["id"]
    shown = server.cli("device", "twin", name, "--desired", '{"led": "on"}')
    assert shown.returncode == 0 and '"led": "on"' in shown.stdout and "version 1" in shown.stdout, shown
    stale = server.cli("device", "twin", name, "--desired", '{"led": "off"}', "--version", "0")
    assert stale.returncode == 1 and "the current version is 1" in stale.stderr, stale
    assert server.cli("device", "twin", name, "--desired", "{led}").returncode == 1
    replaced = server.cli("device", "twin", name, "--desired", '{"n": 1}', "--replace", "--version", "1", "--json")
    assert json.loads(replaced.stdout)["desired"]["value"] == {"n": 1}, replaced
    listed = server.cli("device", "twin", name, "--history", "--part", "desired")
    assert listed.returncode == 0 and '{"led":null,"n":1}' in listed.stdout, listed
    found = server.cli("device", "list", "--query", f"id = {name} and twin.desired.n = 1")
    assert name in found.stdout, found


def test_the_virtual_lamp_follows_its_twin(fresh):
    server = fresh(demo=True)
    lamp = {"id": "lamp"}
    with server.events("lamp") as events:
        want(server, lamp, {"led": "on"})
        told = events.until("twin", part="reported")
        assert (told["patch"], told["owed"]) == ({"led": "on"}, False)
        server.push("lamp", "off")
        told = events.until("twin", part="reported")
        assert (told["patch"], told["owed"]) == ({"led": "off"}, True)
    assert twin(server, lamp)["delta"] == {"led": "on"}
