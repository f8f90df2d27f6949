"""Tokens that may do less than their role, tokens that run out, and how much one token may ask."""

import datetime
import http.client
import json
import sys
import threading

from harness import PATIENCE_S, ROOT, unique
from mqtt_wire import Client

sys.path.insert(0, str(ROOT / "clients" / "python" / "src"))

import espush  # noqa: E402

REFUSED = bytes.fromhex("20 02 00 04")


def test_the_command_line_makes_a_token_for_one_purpose(server):
    app = server.app()
    mine, other = server.device(app)["id"], server.device()["id"]
    name = unique("ci")
    made = server.cli("token", "create", name, "--scope", "push,data:read", "--expires", "30d", "--query", f"app = {app['id']}")
    assert made.returncode == 0 and made.stdout.startswith("espush_"), made
    token = made.stdout.strip()
    assert server.request("POST", f"/d/{mine}?wait=0", "on", token=token)[0] == 202
    server.api("GET", f"/api/v1/devices/{mine}/latest", token=token)
    for method, path, code in [
        ("GET", f"/api/v1/devices/{mine}", "scope_missing"),
        ("GET", f"/api/v1/devices/{other}/latest", "device_out_of_reach"),
        ("GET", "/api/v1/pushes", "device_out_of_reach"),
        ("GET", "/api/v1/knocks", "scope_missing"),
    ]:
        refused = server.api(method, path, token=token, status=403)
        assert refused["code"] == code, refused
    missing = server.api("GET", f"/api/v1/devices/{mine}", token=token, status=403)
    assert "devices:read" in missing["detail"], missing
    listed = server.cli("token", "list")
    assert "push data:read" in listed.stdout and f"app = {app['id']}" in listed.stdout, listed
    wrong = server.cli("token", "add", name, "--scope", "root")
    assert wrong.returncode == 1 and "devices:write" in wrong.stderr, wrong
    server.stop()
    server.start()
    assert server.api("GET", "/api/v1/pushes", token=token, status=403)["code"] == "device_out_of_reach"


def test_a_token_that_may_only_read_gets_no_key_in_a_picture(server):
    app = server.app()
    token = server.api("POST", "/api/v1/tokens", {"name": unique("look"), "role": "owner", "scopes": ["devices:read"]})["token"]
    assert server.request("GET", f"/api/v1/apps/{app['id']}/qr", token=token)[0] == 200
    refused = server.api("GET", f"/api/v1/apps/{app['id']}/qr?content=provisioning", token=token, status=403)
    assert refused["code"] == "scope_missing", refused
    assert "key" not in server.api("GET", f"/api/v1/apps/{app['id']}", token=token)


def test_who_may_not_push_opens_no_device_to_everybody(server):
    app, device = server.app()["id"], server.device()["id"]
    for scopes, status in [(["devices:write"], 403), (["devices:write", "push"], 200)]:
        about = {"name": unique("keeper"), "role": "operator", "scopes": scopes}
        token = server.api("POST", "/api/v1/tokens", about)["token"]
        changed = server.api("PATCH", f"/api/v1/devices/{device}", {"open": True}, token=token, status=status)
        assert status == 200 or changed["code"] == "scope_missing", changed
        made = server.api("POST", "/api/v1/devices", {"app": app, "open": True}, token=token, status=status + (status == 200))
        assert status == 200 or made["code"] == "scope_missing", made
        server.api("PATCH", f"/api/v1/devices/{device}", {"open": False}, token=token, status=200)


def test_a_token_for_some_devices_hears_no_messages_of_others(server):
    about = {"name": unique("bound"), "role": "operator", "scopes": ["events"], "where": "id = nobody"}
    token = server.api("POST", "/api/v1/tokens", about)["token"]
    refused = server.api("GET", "/api/v1/events?addressed=true", token=token, status=403)
    assert refused["code"] == "device_out_of_reach", refused


def test_a_token_may_write_to_numbers_if_it_may_push(server):
    device = server.device()["id"]
    for scopes, code in [(["push"], "unreachable"), (["events", "devices:read"], "scope_missing")]:
        about = {"name": unique("writer"), "role": "operator", "scopes": scopes}
        token = server.api("POST", "/api/v1/tokens", about)["token"]
        status = 409 if code == "unreachable" else 403
        refused = server.api("POST", "/api/v1/send", {"to": device, "text": "hi"}, token=token, status=status)
        assert refused["code"] == code, refused


def test_a_token_with_scopes_is_not_for_the_broker(server):
    token = server.api("POST", "/api/v1/tokens", {"name": unique("ci"), "role": "owner", "scopes": ["push"]})["token"]
    with Client(server, {"id": "token", "secret": token}, greet=False) as refused:
        refused.expect(REFUSED)


def test_streams_end_when_their_token_runs_out(server):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    about = {"name": unique("brief"), "role": "viewer", "scopes": ["events"], "expires": soon.isoformat()}
    token = server.api("POST", "/api/v1/tokens", about)["token"]
    stream = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=PATIENCE_S)
    stream.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {token}"})
    answer = stream.getresponse()
    assert answer.status == 200
    # It comes to its end although nothing happens.
    assert answer.read().rstrip().endswith(b": the token is not valid any more; sign in again")
    stream.close()
    assert server.api("GET", "/api/v1/events", token=token, status=401)["code"] == "token_expired"


def test_one_that_asks_too_much_waits_and_a_client_does_so_by_itself(fresh):
    server = fresh(settings={"http.rate_per_s": "1", "http.rate_burst": "3"})
    token = server.api("POST", "/api/v1/tokens", {"name": "ci", "role": "viewer"})["token"]
    status, headers, _ = server.request("GET", "/api/v1/status", token=token)
    assert status == 200 and headers["RateLimit-Policy"] == '"token";q=3;w=3', headers
    for _ in range(10):
        status, headers, body = server.request("GET", "/api/v1/status", token=token)
        if status == 429:
            break
    assert status == 429 and headers["Retry-After"] == "1" and json.loads(body)["code"] == "rate_limited", body
    assert headers["RateLimit"].startswith('"token";r=0;'), headers
    with espush.Client(f"http://127.0.0.1:{server.ports['http']}", token) as client:
        assert client.status()["version"]


def test_a_thousand_direct_pushes_pass_by_default(server):
    """One token's requests at once from several connections, as fast as they go: none is refused."""
    device = server.device()["id"]
    refused = []

    def push(times):
        connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=PATIENCE_S)
        for _ in range(times):
            headers = {"Authorization": "Bearer a-token-for-tests"}
            connection.request("POST", f"/d/{device}?wait=0", body=b"on", headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 429:
                refused.append(answer.headers["RateLimit"])
        connection.close()

    threads = [threading.Thread(target=push, args=(250,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused, refused[:3]
