"""What a sender may say of a push beside its content: a newer one takes the place of an older one; and once more
for those who did not get it; so many devices a second, or not before a moment;
again and again; the urgent one first. And what
became of it, step by step."""

import json

from mqtt_wire import Client, puback


def messages(client, count):
    """The payloads of the next so many messages, each acknowledged."""
    payloads = []
    for _ in range(count):
        _, payload, _, number, _ = client.message()
        client.send(puback(number))
        payloads.append(payload.decode())
    return payloads


def test_a_newer_push_with_the_same_key_replaces_what_waits_after_a_kill_too(fresh):
    server = fresh()
    device = server.device()
    red = server.push(device["id"], "red", wait_ms=5000, collapse="colour")
    other = server.push(device["id"], "loud", wait_ms=5000, collapse="volume")
    assert red["state"] == other["state"] == "queued"
    server.kill()
    server.start()
    with server.events(device["id"]) as events:
        done = server.cli("push", device["id"], "blue", "--collapse", "colour")
        assert done.returncode == 2 and done.stdout.startswith("queued"), done.stdout + done.stderr
        events.until("delivery", push=red["push"], state="replaced")
    blue = server.api("GET", "/api/v1/pushes?limit=1")["items"][0]
    assert blue["collapse"] == "colour"
    assert server.delivery(red["push"])["detail"] == f"push {blue['id']} took its place"
    with Client(server, device) as client:
        client.subscribe("me/push")
        assert messages(client, 2) == ["loud", "blue"]


def test_a_push_is_sent_again_to_those_who_did_not_get_it(server):
    app = server.app()
    there, away = server.device(app), server.device(app)
    with Client(server, there) as client:
        client.subscribe("me/push")
        order = {"audience": {"app": app["id"]}, "text": "on", "ttl_s": 0}
        first = server.api("POST", "/api/v1/push", order)["id"]
        assert messages(client, 1) == ["on"]
        server.api("POST", "/api/v1/push", {**order, "wait_ms": 5000})
        assert messages(client, 1) == ["on"]
        shown = server.api("GET", f"/api/v1/pushes/{first}")
        assert shown["counts"] == {"delivered": 1, "expired": 1}, shown
        done = server.cli("push", "resend", str(first), "--ttl", "1h", "--wait", "0")
        assert done.returncode == 2, done.stdout + done.stderr
    second = server.api("GET", "/api/v1/pushes?limit=1")["items"][0]
    assert (second["resend_of"], second["text"], second["devices"]) == (first, "on", 1)
    with Client(server, away) as client:
        client.subscribe("me/push")
        assert messages(client, 1) == ["on"]
    problem = server.api("POST", f"/api/v1/pushes/{first}/resend", {"states": ["refused"]}, status=409)
    assert problem["code"] == "nothing_to_resend" and problem["hint"]
    done = server.cli("push", "resend", str(first), "--state", "refused")
    assert done.returncode == 1 and "no delivery of push" in done.stderr, done.stderr


def test_a_slow_push_takes_its_time_survives_a_kill_and_is_taken_back(fresh):
    server = fresh()
    app = server.app()["id"]
    for number in range(30):
        server.api("POST", "/api/v1/devices", {"app": app, "id": f"d{number}"})
    with server.events("d2") as events:
        push = server.api("POST", "/api/v1/push", {"audience": {"app": app}, "text": "on", "per_second": 2})["id"]
        events.until("delivery", push=push, state="queued")
    server.kill()
    server.start()
    shown = server.api("GET", f"/api/v1/pushes/{push}")
    assert shown["per_second"] == 2 and 0 < shown["remaining"] < 30, shown
    assert server.cli("pushes", "cancel", str(push)).returncode == 0
    while shown["remaining"]:
        shown = server.api("GET", f"/api/v1/pushes/{push}")
    assert shown["counts"] == {"cancelled": 30}, shown


def test_a_push_may_start_later(fresh):
    server = fresh()
    device = server.device()
    done = server.cli("push", device["id"], "good morning", "--at", "3s")
    assert done.returncode == 2 and "starts 20" in done.stdout, done.stdout + done.stderr
    push = server.api("GET", "/api/v1/pushes")["items"][0]
    assert push["remaining"] == 1 and push["at"], push
    server.kill()
    server.start()
    with Client(server, device) as client:
        client.subscribe("me/push")
        assert messages(client, 1) == ["good morning"]
    assert server.cli("push", device["id"], "x", "--at", "2020-01-01T00:00:00Z").returncode == 1


def test_a_schedule_runs_is_paused_and_keeps_its_log_through_a_kill(fresh):
    server = fresh()
    app = server.app()
    device = server.device(app)
    done = server.cli("schedule", "add", "tick", "tock", "--to-app", str(app["id"]), "--at", "2s")
    assert done.returncode == 0 and done.stdout.startswith("schedule 1: next run 20"), done.stdout + done.stderr
    daily = server.cli("schedule", "add", "dawn", "x", "--to-all", "--daily", "07:30", "--zone", "Europe/Berlin", "--json")
    assert json.loads(daily.stdout)["next"].endswith((":30:00.000Z")), daily.stdout + daily.stderr
    with Client(server, device) as client:
        client.subscribe("me/push")
        assert messages(client, 1) == ["tock"]
    assert server.cli("schedule", "pause", "2").returncode == 0
    schedule = server.api("GET", "/api/v1/schedules/1")
    while not schedule["runs"]:
        schedule = server.api("GET", "/api/v1/schedules/1")
    server.kill()
    server.start()
    assert server.api("GET", "/api/v1/schedules/1") == schedule and schedule["next"] is None
    assert [(run["outcome"], run["push"]) for run in schedule["runs"]] == [("pushed", 1)]
    shown = server.cli("schedule", "show", "1").stdout
    assert "pushed: push 1" in shown and "none is left" in shown, shown
    assert "paused" in server.cli("schedule", "list").stdout
    assert server.cli("schedule", "resume", "2").stdout.startswith("schedule 2: next run 20")
    assert server.cli("schedule", "remove", "2").returncode == 0
    problem = server.api("GET", "/api/v1/schedules/2", status=404)
    assert problem["code"] == "no_such_schedule"
    done = server.cli("schedule", "add", "n", "x", "--to-all", "--cron", "61 * * * *")
    assert done.returncode == 1 and "minute" in done.stderr, done.stderr


def test_what_waits_goes_out_by_priority_after_a_kill_too(fresh):
    server = fresh()
    device = server.device()
    for priority in ("low", "normal", "high"):
        assert server.cli("push", device["id"], priority, "--priority", priority).returncode == 2
    server.kill()
    server.start()
    with Client(server, device) as client:
        client.subscribe("me/push")
        assert messages(client, 3) == ["high", "normal", "low"]


def test_a_device_has_a_history_and_each_delivery_its_steps(server):
    device = server.device()
    push = server.push(device["id"], "on", wait_ms=5000)["push"]
    with server.events(device["id"]) as events, Client(server, device) as client:
        client.subscribe("me/push")
        assert messages(client, 1) == ["on"]
        events.until("delivery", push=push, state="delivered")
    (delivery,) = server.api("GET", f"/api/v1/devices/{device['id']}/deliveries")["items"]
    states = [step["state"] for step in delivery["steps"]]
    assert delivery["push"] == push and (states[0], states[-2:]) == ("queued", ["sent", "delivered"]), delivery
    assert [step["at"] for step in delivery["steps"]] == sorted(step["at"] for step in delivery["steps"])
    assert [one["id"] for one in server.api("GET", f"/api/v1/pushes?device={device['id']}")["items"]] == [push]
    shown = server.cli("pushes", "list", "--device", device["id"])
    assert "queued, " in shown.stdout and shown.stdout.rstrip().endswith("delivered"), shown.stdout + shown.stderr
