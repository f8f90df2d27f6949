"""A push tells truthfully what became of it: applied only by the device's answer, delivered only by the protocol's
acknowledgement, kept for a device that is away, through a kill of the server too."""

import pytest

from harness import unique
from mqtt_wire import Client, puback, publish


def answer_next(client, body):
    """Takes the next ask and answers it."""
    topic, payload, _, number, _ = client.message()
    client.send(puback(number))
    client.send(publish(topic.replace("/ask/", "/answer/"), body, qos=1, number=40)).expect(puback(40))
    return payload


def test_a_bare_post_is_a_push_and_says_how_it_went(server):
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/push")
        with server.events(device["id"]) as events:
            status, headers, _ = server.request("POST", f"/d/{device['id']}?wait=0", body=b"\x00raw\xff")
            assert status == 202 and headers["Espush-State"] in ("queued", "sent")
            topic, payload, _, number, _ = client.message()
            assert (topic, payload) == ("me/push", b"\x00raw\xff")
            client.send(puback(number))
            events.until("delivery", push=int(headers["Espush-Push"]), state="delivered")


def test_it_waits_for_the_outcome(server, background):
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/push", "me/ask/+")
        asked = background(server.request, "POST", f"/d/{device['id']}?wait=30s", body=b"on")
        topic, payload, _, number, _ = client.message()
        client.send(puback(number))
        status, headers, body = asked.result()
        assert (status, headers["Espush-State"]) == (200, "delivered"), body

        asked = background(server.request, "POST", f"/d/{device['id']}?wait=30s&ask=1", body=b"how warm?")
        assert answer_next(client, "21.5 °C") == b"how warm?"
        status, headers, body = asked.result()
        assert (status, headers["Espush-State"], body.decode().strip()) == (200, "applied", "21.5 °C")


def test_an_answer_that_does_not_come_is_not_invented(server):
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/ask/+")
        status, headers, body = server.request("POST", f"/d/{device['id']}?wait=300ms&ask=1", body=b"?")
        assert status == 504 and body


def test_what_is_not_there_is_404_and_what_is_not_allowed_401(server):
    assert server.request("POST", f"/d/{unique('nobody')}", body=b"x")[0] == 404
    device = server.device()
    assert server.request("POST", f"/d/{device['id']}?wait=0", body=b"x", token=None)[0] == 401
    opened = server.device(open=True)
    assert server.request("POST", f"/d/{opened['id']}?wait=0", body=b"x", token=None)[0] == 202
    viewer = server.api("POST", "/api/v1/tokens", {"name": "watcher", "role": "viewer"})["token"]
    assert server.request("POST", f"/d/{device['id']}?wait=0", body=b"x", token=viewer)[0] == 403


def test_a_push_waits_for_a_device_that_is_away(server):
    device = server.device()
    status, headers, body = server.request("POST", f"/d/{device['id']}?wait=200ms", body=b"when you are back")
    assert (status, headers["Espush-State"]) == (202, "queued") and body.decode().strip()
    second = server.push(device["id"], "and this")
    with server.events(device["id"]) as events, Client(server, device) as client:
        client.subscribe("me/push")
        for wanted in (b"when you are back", b"and this"):
            _, payload, qos, number, _ = client.message()
            assert (payload, qos) == (wanted, 1)
            client.send(puback(number))
        events.until("delivery", push=second["push"], state="delivered")
    assert server.delivery(int(headers["Espush-Push"]))["state"] == "delivered"


def test_an_acknowledged_push_survives_kill_9(fresh):
    server = fresh()
    device = server.device()
    push = server.push(device["id"], "kept")["push"]
    server.kill()
    again = fresh(data=server.data)
    assert again.delivery(push)["state"] == "queued"
    with again.events(device["id"]) as events, Client(again, device) as client:
        client.subscribe("me/push")
        topic, payload, _, number, _ = client.message()
        assert payload == b"kept"
        client.send(puback(number))
        events.until("delivery", push=push, state="delivered")
    again.kill()
    third = fresh(data=server.data)
    assert third.delivery(push)["state"] == "delivered", "what was told is kept"
    with Client(third, device) as client:
        client.subscribe("me/push")
        client.send(b"\xc0\x00").expect(b"\xd0\x00")


def test_a_line_that_breaks_before_the_acknowledgement_is_tried_again(server):
    device = server.device()
    client = Client(server, device)
    client.subscribe("me/push")
    with server.events(device["id"]) as events:
        push = server.push(device["id"], "once more")["push"]
        assert client.message()[1] == b"once more"
        client.close()
        events.until("presence", online=False)
        with Client(server, device) as again:
            again.subscribe("me/push")
            _, payload, _, number, _ = again.message()
            assert payload == b"once more"
            again.send(puback(number))
            events.until("delivery", push=push, state="delivered")


def test_every_form_of_payload_arrives_as_the_same_bytes(server):
    device = server.device()
    with Client(server, device) as client:
        client.subscribe("me/push")
        for order, wanted in [
            ({"text": "灯"}, "灯".encode()),
            ({"hex": "0c 01"}, b"\x0c\x01"),
            ({"base64": "AAEC"}, b"\x00\x01\x02"),
        ]:
            server.push(device["id"], **order)
            _, payload, _, number, _ = client.message()
            client.send(puback(number))
            assert payload == wanted
        server.push(device["id"], json={"on": True})
        _, payload, _, number, _ = client.message()
        assert payload.replace(b" ", b"") == b'{"on":true}'


def test_the_same_key_pushes_once(server):
    device = server.device()
    key = unique("order")
    first = server.push(device["id"], "pay", idempotency_key=key)
    assert server.push(device["id"], "pay", idempotency_key=key)["push"] == first["push"]
    with Client(server, device) as client:
        client.subscribe("me/push")
        _, _, _, number, _ = client.message()
        client.send(puback(number)).send(b"\xc0\x00").expect(b"\xd0\x00")


def test_a_push_can_be_taken_back_and_can_expire(server):
    device = server.device()
    with server.events(device["id"]) as events:
        taken = server.push(device["id"], "no")["push"]
        server.api("DELETE", f"/api/v1/pushes/{taken}")
        events.until("delivery", push=taken, state="cancelled")
        late = server.push(device["id"], "soon", ttl_s=1)["push"]
        events.until("delivery", push=late, state="expired")
    with Client(server, device) as client:
        client.subscribe("me/push")
        client.send(b"\xc0\x00").expect(b"\xd0\x00")


def test_pushes_are_listed_with_their_counts(server):
    device = server.device()
    push = server.push(device["id"], "listed")["push"]
    assert server.api("GET", "/api/v1/pushes")["items"][0]["id"] == push
    told = server.api("GET", f"/api/v1/pushes/{push}")
    assert told["counts"]["queued"] == 1
    assert told["audience"] == {"device": device["id"]}


@pytest.mark.parametrize(
    "order, status",
    [
        ({"audience": {"device": "nobody-at-all"}, "text": "x"}, 404),
        ({"audience": "everybody", "text": "x"}, 400),
        ({"audience": {"device": "HERE"}}, 400),
        ({"audience": {"device": "HERE"}, "hex": "0"}, 400),
        ({"audience": {"device": "HERE"}, "text": "x", "hex": "00"}, 400),
        ({"audience": {"device": "HERE"}, "text": "x", "command": "a/b"}, 400),
        ({"text": "x"}, 400),
    ],
)
def test_an_order_that_makes_no_sense_is_a_problem_with_a_sentence(server, order, status):
    if order.get("audience") == {"device": "HERE"}:
        order = {**order, "audience": {"device": server.device()["id"]}}
    problem = server.api("POST", "/api/v1/push", order, status=status)
    assert problem["status"] == status and problem["code"] and problem["detail"]


def test_only_the_device_itself_answers(server):
    device, other = server.device(), server.device()
    with Client(server, other) as neighbour, server.events(device["id"]) as events, Client(server, device) as client:
        client.subscribe("me/ask/+")
        push = server.push(device["id"], "?", ask=True)["push"]
        _, _, _, number, _ = client.message()
        client.send(puback(number))
        neighbour.send(publish(f"dev/{device['id']}/answer/{push}", "forged", qos=1, number=3)).receive()
        client.send(publish(f"me/answer/{push}", "true", qos=1, number=4)).expect(puback(4))
        assert events.until("delivery", push=push, state="applied")["answer"] == {"text": "true"}
