"""What a sender may say of a push beside its content: a newer one takes the place of an older one."""

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
