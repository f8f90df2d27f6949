"""What devices measure becomes points, at the device's own time where it has one; an upload that was acknowledged
is there after a kill; everything can be read back as JSON and as CSV."""

import csv
import io

from harness import Events
from mqtt_wire import Client, puback, publish


def points(server, device, **query):
    path = f"/api/v1/devices/{device['id']}/points"
    if query:
        path += "?" + "&".join(f"{name}={value}" for name, value in query.items())
    return server.api("GET", path)


def test_an_object_is_a_point_a_member(server):
    device = server.device()
    with server.events(device["id"]) as events, Client(server, device) as client:
        client.send(publish("me/data", '{"temperature": 21.5, "on": true, "mode": "eco"}', qos=1, number=1)).expect(puback(1))
        told = events.until("points")
        assert {point["stream"]: point["value"] for point in told["items"]} == {"temperature": 21.5, "on": True, "mode": "eco"}
        latest = server.api("GET", f"/api/v1/devices/{device['id']}/latest")["items"]
        assert [(item["stream"], item["value"]) for item in latest] == [("mode", "eco"), ("on", True), ("temperature", 21.5)]


def test_one_value_on_a_streams_own_topic(server):
    device = server.device()
    with Client(server, device) as client:
        for number, payload in enumerate(["21.5", " 22 \r\n", "warm"], start=1):
            client.send(publish("me/data/kitchen", payload, qos=1, number=number)).expect(puback(number))
    assert [item["value"] for item in points(server, device, stream="kitchen")["items"]] == [21.5, 22, "warm"]


def test_points_that_were_buffered_keep_their_own_time(server):
    device = server.device()
    with Client(server, device) as client:
        late = '[{"ts":1700000000000,"t":1},{"ts":1700000060000,"t":2}]'
        client.send(publish("me/data", late, qos=1, number=1)).expect(puback(1))
    items = points(server, device, stream="t")["items"]
    assert [(item["at"], item["value"]) for item in items] == [
        ("2023-11-14T22:13:20.000Z", 1),
        ("2023-11-14T22:14:20.000Z", 2),
    ]
    inside = points(server, device, stream="t", **{"from": "2023-11-14T22:14:00Z", "to": "2023-11-14T22:14:20Z"})["items"]
    assert inside == [], "`to` is not in the period"
    inside = points(server, device, stream="t", **{"from": "2023-11-14T22:13:20Z", "to": "2023-11-14T22:14:20Z"})["items"]
    assert [item["value"] for item in inside] == [1]


def test_values_that_come_at_once_are_all_kept(server):
    device = server.device()
    with Client(server, device) as client:
        client.send(b"".join(publish("me/data/n", str(number), qos=1, number=number) for number in range(1, 201)))
        for number in range(1, 201):
            client.expect(puback(number))
    kept = points(server, device, stream="n", limit=1000)["items"]
    assert [item["value"] for item in kept] == list(range(1, 201))


def test_an_acknowledged_upload_survives_kill_9(fresh):
    server = fresh()
    device = server.device()
    with Client(server, device) as client:
        for number in range(1, 51):
            reading = f'{{"ts":{1700000000000 + number},"n":{number}}}'
            client.send(publish("me/data", reading, qos=1, number=number)).expect(puback(number))
        server.kill()
    again = fresh(data=server.data)
    assert [item["value"] for item in points(again, device, stream="n")["items"]] == list(range(1, 51))


def test_http_devices_upload_with_their_secret(server):
    device, other = server.device(), server.device()
    path = f"/api/v1/devices/{device['id']}/points"
    server.api("POST", path, {"temperature": 20}, token=device["secret"])
    server.api("POST", path, [{"stream": "temperature", "value": 21, "at": "2026-01-01T00:00:00Z"}], token=device["secret"])
    assert {item["value"] for item in points(server, device)["items"]} == {20, 21}
    server.api("POST", path, {"temperature": 1}, token=other["secret"], status=401)
    server.api("GET", "/api/v1/devices", token=device["secret"], status=401)


def test_pages_and_csv_hold_the_same_rows(server):
    device = server.device()
    rows = [{"stream": "n", "value": n, "at": 1700000000000 + n} for n in range(250)]
    server.api("POST", f"/api/v1/devices/{device['id']}/points", rows)
    read, cursor, pages = [], None, 0
    while True:
        query = {"stream": "n", "limit": 100, **({"cursor": cursor} if cursor else {})}
        page = points(server, device, **query)
        read += [item["value"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1
        if cursor is None:
            break
    assert (read, pages) == (list(range(250)), 3)
    status, headers, body = server.request("GET", f"/api/v1/devices/{device['id']}/points", headers={"Accept": "text/csv"})
    assert status == 200 and headers["Content-Type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(body.decode())))
    assert [float(row["value"]) for row in table] == list(range(250))


def test_what_cannot_be_read_is_not_acknowledged(server):
    device = server.device()
    with Client(server, device) as client:
        client.send(publish("me/data", "{not json", qos=1, number=1))
        client.expect_end()
    assert points(server, device)["items"] == []
    server.api("POST", f"/api/v1/devices/{device['id']}/points", [1, 2], status=400)


def test_the_messages_of_both_directions_are_remembered(server):
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/push")
        client.send(publish("me/data/t", "1", qos=1, number=1)).expect(puback(1))
        server.push(device["id"], hex="00ff")
        _, _, _, number, _ = client.message()
        client.send(puback(number))
        # An upload is acknowledged when its room has it, and so everything before it: a log line is not waited for.
        client.send(publish("me/data/u", "2", qos=1, number=2)).expect(puback(2))
    items = server.api("GET", f"/api/v1/devices/{device['id']}/messages")["items"]
    told = [(item["direction"], item["topic"].split("/", 2)[2], item.get("text", item.get("hex"))) for item in items]
    assert told == [("up", "data/t", "1"), ("down", "push", "00ff"), ("up", "data/u", "2")]


def test_events_that_were_missed_are_told_after_a_reconnect(server):
    device = server.device()
    with server.events(device["id"]) as events:
        server.api("POST", f"/api/v1/devices/{device['id']}/points", {"n": 1})
        assert events.until("points")["items"][0]["value"] == 1
        last = events.last_id
    server.api("POST", f"/api/v1/devices/{device['id']}/points", {"n": 2})
    with Events(server, device["id"], last_id=last) as events:
        assert events.until("points")["items"][0]["value"] == 2
