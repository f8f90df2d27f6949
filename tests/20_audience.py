"""A push goes to those who are meant, and to nobody else: by ids, alias, app, tags, query or to all; what it would do
is told before; a push to many survives a kill in the middle; the queries that the documentation shows are understood."""

import json
from urllib.parse import quote

from harness import ROOT, unique
from mqtt_wire import Client, puback


def queries(kind):
    page = (ROOT / "docs" / "en" / "audience.md").read_text()
    return [line for block in page.split(f"```{kind}\n")[1:] for line in block.split("```")[0].splitlines()]


def kitchen(server):
    """An app with three devices: two in a kitchen of their own, one of them with an alias."""
    app, tag = server.app(), unique("kitchen")
    first = server.device(app, tags=[tag, "new"], alias=unique("lounge"))
    return app["id"], tag, [first, server.device(app, tags=[tag]), server.device(app)]


def test_each_audience_is_who_it_says(server):
    app, tag, devices = kitchen(server)
    a, b, c = [device["id"] for device in devices]
    server.api("POST", f"/api/v1/devices/{c}/points", {"temp": 31})
    for audience, wanted in [
        ({"devices": [c, a]}, [a, c]),
        ({"alias": devices[0]["alias"]}, [a]),
        ({"app": app}, [a, b, c]),
        ({"tags": {"all": [tag], "none": ["new"]}}, [b]),
        ({"where": f"app = {app} and data.temp > 30"}, [c]),
        ({"where": f"app = {app} and not tags has {tag}"}, [c]),
    ]:
        push = server.api("POST", "/api/v1/push", {"audience": audience, "text": "on"})
        rest = server.api("GET", f"/api/v1/pushes/{push['id']}")
        # The call answers when the audience is on disk; the deliveries come in batches.
        while rest["remaining"]:
            rest = server.api("GET", f"/api/v1/pushes/{push['id']}")
        assert [row["device"] for row in rest["deliveries"]] == wanted, audience
        preview = server.api("POST", "/api/v1/push/preview", {"audience": audience, "text": "on"})
        assert [row["device"] for row in preview["items"]] == wanted and preview["counts"]["later"] == len(wanted), audience
    listed = server.api("GET", "/api/v1/devices?where=" + quote(f"app = {app} and tags has {tag}"))
    assert [device["id"] for device in listed["items"]] == [a, b]


def test_the_devices_get_it_and_the_counts_tell(server, background):
    app, tag, devices = kitchen(server)
    with Client(server, devices[0]) as first, Client(server, devices[1]) as second:
        first.subscribe("me/push")
        second.subscribe("me/push")
        call = background(server.cli, "push", "--to-tag", tag, "--query", f"app = {app}", "lights out", "--wait", "30s")
        for client in (first, second):
            _, payload, _, number, _ = client.message()
            assert payload == b"lights out"
            client.send(puback(number))
        done = call.result()
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(": 2 devices: 2 delivered\n"), done.stdout
        assert "2 devices" in done.stderr, "the counts are shown while it runs"


def test_the_command_line_previews_and_lists(server):
    app, tag, devices = kitchen(server)
    done = server.cli("push", "--to-app", str(app), "--preview", "--ttl", "0", "x")
    assert done.returncode == 0 and "3 devices: 0 now, 0 later, 3 not" in done.stdout, done.stdout + done.stderr
    assert "away" in done.stdout and devices[2]["id"] in done.stdout
    assert server.api("GET", "/api/v1/pushes?limit=1")["items"][0]["audience"] != {"app": app}, "nothing was pushed"
    done = server.cli("device", "list", "--query", f"tags has {tag} and tags has new", "--json")
    assert [device["id"] for device in json.loads(done.stdout)["items"]] == [devices[0]["id"]]
    done = server.cli("device", "list", "--query", "app = 7 and temp > 30")
    assert done.returncode == 1
    assert "at character 13: unknown field `temp`\n  hint: did you mean `data.temp`?" in done.stderr
    assert server.cli("push", "--to-tag", unique("nobody"), "x").returncode == 1
    assert server.cli("push", "--to-tag", tag, "text", "too much").returncode == 1


def test_what_the_documentation_shows_is_understood(server):
    for query in queries("query"):
        server.api("GET", "/api/v1/devices?where=" + quote(query), status=200)
    for query in queries("wrong"):
        problem = server.api("GET", "/api/v1/devices?where=" + quote(query), status=400)
        assert problem["code"] == "bad_where" and problem["hint"] and problem["position"] >= 1, problem


def test_a_push_to_many_survives_kill_9(fresh):
    server = fresh()
    app = server.app()["id"]
    for number in range(1200):
        server.api("POST", "/api/v1/devices", {"app": app, "id": f"d{number}"})
    push = server.api("POST", "/api/v1/push", {"audience": {"app": app}, "text": "on"})["id"]
    # At once: it may be anywhere between its first and its last batch.
    server.kill()
    server.start()
    shown = server.api("GET", f"/api/v1/pushes/{push}?deliveries=false")
    while shown["remaining"]:
        shown = server.api("GET", f"/api/v1/pushes/{push}?deliveries=false")
    assert shown["devices"] == 1200 and shown["counts"] == {"queued": 1200}, shown
