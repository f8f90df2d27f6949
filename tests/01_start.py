"""One command starts everything, says where it listens, and stops when it is told to. What was kept is there
again after a restart; what was only for this run is not."""

import re
import signal
import socket
import stat

import pytest

from harness import PATIENCE_S, TOKEN, Server
from mqtt_wire import Client


def test_it_tells_every_bound_address_and_then_that_it_is_ready(server):
    assert server.stdout[-1] == "ready"
    assert re.match(r"room for about [0-9,]+ devices at once: ", server.stdout[-2])
    for line in server.stdout[: server.stdout.index("ready")]:
        if line.startswith("listening"):
            assert re.fullmatch(r"listening [a-z_]+ 127\.0\.0\.1:[1-9][0-9]*", line), line
    for name in ("http", "mqtt", "espush"):
        with socket.create_connection(("127.0.0.1", server.ports[name]), timeout=PATIENCE_S):
            pass


def test_it_tells_how_it_is(server):
    status, _, body = server.request("GET", "/healthz", token=None)
    assert (status, body.strip()) == (200, b"ok")
    told = server.api("GET", "/api/v1/status")
    addresses = {listener["name"]: listener["addr"] for listener in told["listeners"]}
    assert addresses == {name: f"127.0.0.1:{port}" for name, port in server.ports.items()}
    status, _, body = server.request("GET", "/metrics")
    assert status == 200 and b"# TYPE" in body


def test_the_local_owner_finds_in_by_the_data_directory(server):
    token = server.data / "owner.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    session = server.api("GET", "/api/v1/session", token=token.read_text().strip())
    assert session["role"] == "owner"
    assert (server.data / "server.url").read_text().strip() == f"http://127.0.0.1:{server.ports['http']}"
    doctor = server.cli("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "BAD" not in doctor.stdout and "owner" in doctor.stdout


def test_a_stranger_is_told_so(server):
    server.api("GET", "/api/v1/session", token=None, status=401)
    server.api("GET", "/api/v1/devices", token="not-a-token-of-ours", status=401)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_lines_open(fresh, how):
    server = fresh()
    device = server.device()
    with Client(server, device) as client, server.events() as events:
        client.subscribe("me/push")
        server.process.send_signal(how)
        assert server.process.wait(PATIENCE_S) == 0, server.log()
        client.expect_end()
        with pytest.raises((AssertionError, ConnectionError)):
            events.next()
            events.until("never")


def test_a_listener_can_be_off_and_a_variable_can_say_so(fresh):
    server = fresh(settings={"espush.listen": ""}, environment={"ESPUSH_LOG__LEVEL": "debug"})
    assert "espush" not in server.ports and "mqtt" in server.ports


def test_an_address_that_is_taken_is_named_with_the_setting_to_change(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError) as caught:
            Server(tmp_path / "data", {"mqtt.listen": f"127.0.0.1:{port}"}).start()
    assert "ended with 1" in str(caught.value)
    assert f"127.0.0.1:{port}" in str(caught.value) and "mqtt.listen" in str(caught.value)


def test_a_data_directory_has_one_server(fresh):
    first = fresh()
    with pytest.raises(AssertionError) as caught:
        Server(first.data).start()
    assert "ended with 1" in str(caught.value)
    assert first.api("GET", "/api/v1/status"), "the first goes on"


def test_a_restart_keeps_what_was_registered(fresh):
    server = fresh()
    app = server.app(open=True)
    device = server.device(app, name="客厅的灯", tags=["indoor", "一楼"])
    secret = device.pop("secret")
    server.stop()
    again = fresh(data=server.data)
    assert again.api("GET", f"/api/v1/apps/{app['id']}")["key"] == app["key"]
    kept = again.api("GET", f"/api/v1/devices/{device['id']}")
    for member in ("id", "number", "app", "name", "tags", "created"):
        assert kept[member] == device[member], member
    assert kept["online"] is False
    with Client(again, {"id": device["id"], "secret": secret}) as client:
        client.send(b"\xc0\x00").expect(b"\xd0\x00")


def test_the_bootstrap_token_ends_with_its_run(fresh):
    server = fresh()
    server.stop()
    again = fresh(data=server.data, settings={"auth.bootstrap_token": "another-token-now"})
    again.api("GET", "/api/v1/session", token=TOKEN, status=401)
    assert again.api("GET", "/api/v1/session", token="another-token-now")["role"] == "owner"


def test_a_sign_in_link_opens_once(server):
    link = server.api("POST", "/api/v1/tokens/signin", {})
    base, code = link["url"].split("/signin#")
    assert base == f"http://127.0.0.1:{server.ports['http']}" and code == link["code"]
    status, headers, _ = server.request("POST", "/api/v1/session", {"code": code}, token=None, headers={"X-Espush": "1"})
    assert status == 200
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    value = {"Cookie": cookie.split(";")[0]}
    status, _, body = server.request("GET", "/api/v1/session", token=None, headers=value)
    assert status == 200 and b"owner" in body
    status, _, _ = server.request("POST", "/api/v1/apps", {"name": "forged"}, token=None, headers=value)
    assert status == 403, "a browser's cookie alone must not write: another site could have sent the request"
    status, _, _ = server.request("POST", "/api/v1/session", {"code": code}, token=None, headers={"X-Espush": "1"})
    assert status in (400, 401, 403, 410), "a link works once"


def test_the_console_is_served(server):
    status, headers, body = server.request("GET", "/", token=None)
    assert status == 200 and headers["Content-Type"].startswith("text/html"), body[:200]


def test_the_demo_has_a_lamp_that_answers(fresh):
    server = fresh(demo=True)
    server.until_online("lamp")
    status, headers, body = server.request("POST", "/d/lamp?wait=30s&ask=1", body=b"on")
    assert (status, headers["Espush-State"]) == (200, "applied"), body
    assert body.strip()
