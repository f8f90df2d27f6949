"""Looking after a fleet: keeping a device out, giving it a new secret, groups, lists of devices in and out, and who
changed what."""

from harness import unique
from mqtt_wire import Client

REFUSED = bytes.fromhex("20 02 00 05")


def test_a_blocked_device_is_sent_away_and_its_pushes_wait(server):
    device = server.device()
    name = device["id"]
    with Client(server, device) as line:
        line.subscribe(("me/push", 1))
        server.until_online(name)
        shown = server.cli("device", "block", name)
        assert shown.returncode == 0 and "blocked   true" in shown.stdout, shown
        line.expect_end()
    with server.events() as events, Client(server, device, greet=False) as refused:
        refused.expect(REFUSED)
        knock = events.until("knock")
        assert name in knock["claim"] and "blocked" in knock["reason"], knock
    push = server.push(name, "later")
    assert push["state"] == "queued", push
    listed = server.api("GET", "/api/v1/devices?where=blocked")["items"]
    assert [(item["id"], item["blocked"]) for item in listed] == [(name, True)]
    assert server.cli("device", "unblock", name).returncode == 0
    with Client(server, device) as line:
        line.subscribe(("me/push", 1))
        assert line.message()[1] == b"later"


def test_an_old_secret_works_until_the_device_has_the_new_one(server):
    device = server.device()
    name = device["id"]
    made = server.cli("device", "secret", name, "--overlap", "1h")
    assert made.returncode == 0 and "The old one works until" in made.stderr, made
    new = {**device, "secret": made.stdout.strip()}
    for known, used in [(device, "old"), (new, "new")]:
        with Client(server, known) as line:
            line.goodbye()
        assert server.api("GET", f"/api/v1/devices/{name}")["old_secret"]["used"] == used
    server.stop()
    server.start()
    with Client(server, device) as old:
        server.until_online(name)
        last = server.cli("device", "secret", name)
        assert last.returncode == 0, last
        old.expect_end()
    for known in (device, new):
        with Client(server, known, greet=False) as refused:
            refused.expect(bytes.fromhex("20 02 00 04"))
    with Client(server, {**device, "secret": last.stdout.strip()}) as line:
        line.goodbye()


def test_a_group_is_a_query_under_a_name(server):
    app = server.app()
    lamp, fan = server.device(app), server.device(app)
    name = unique("kitchen boards ")
    added = server.cli("group", "add", name, f"app = {app['id']} and id = {lamp['id']}")
    assert added.returncode == 0 and name in added.stdout, added
    rest = unique("rest")
    assert server.cli("group", "add", rest, f"app = {app['id']} and group != '{name}'").returncode == 0
    listed = server.cli("device", "list", "--group", rest)
    assert fan["id"] in listed.stdout and lamp["id"] not in listed.stdout, listed
    preview = server.cli("push", "--preview", "--to-group", name, "on")
    assert preview.returncode == 0 and lamp["id"] in preview.stdout + preview.stderr, preview
    kept = server.cli("group", "delete", name)
    assert kept.returncode == 1 and rest in kept.stderr, kept
    for group in (rest, name):
        assert server.cli("group", "delete", group).returncode == 0
    gone = server.cli("device", "list", "--query", f"group = {rest}")
    assert gone.returncode == 1 and "no group" in gone.stderr, gone


def test_devices_come_from_a_file_and_go_into_one(server, tmp_path):
    app, name = server.app()["id"], unique("board")
    rows = [f"{name}-{number},{app},Board {number},first;hall" for number in range(1200)]
    file = tmp_path / "boards.csv"
    file.write_text("id,app,name,tags\n" + "\n".join(rows) + f"\nno id,{app},,\n")
    dry = server.cli("device", "import", str(file), "--dry-run")
    assert dry.returncode == 1 and "1200 would be created" in dry.stderr and not dry.stdout, dry
    made = server.cli("device", "import", str(file))
    assert made.returncode == 1 and "line 1202 (no id)" in made.stderr and "1200 created, 0 updated, 1 wrong" in made.stderr, made
    secrets = dict(line.split(",") for line in made.stdout.splitlines())
    assert len(secrets) == 1201 and secrets.pop("id") == "secret"
    with Client(server, {"id": f"{name}-7", "secret": secrets[f"{name}-7"]}) as line:
        line.goodbye()
    out = tmp_path / "out.csv"
    assert server.cli("device", "export", "--query", f"app = {app} and tags has hall", "--out", str(out)).returncode == 0
    lines = out.read_text().splitlines()
    seventh = [line for line in lines if line.startswith(f"{name}-7,")]
    assert len(lines) == 1201 and len(seventh) == 1, lines[:9]
    assert seventh[0].startswith(f"{name}-7,{app},Board 7,,\"first;hall\",false,")
    back = server.cli("device", "import", "-", "--mode", "update", stdin=out.read_text())
    assert back.returncode == 0 and "0 created, 1200 updated, 0 wrong" in back.stderr, back


def test_the_audit_log_tells_who_changed_what(server):
    device = server.device()["id"]
    token = server.api("POST", "/api/v1/tokens", {"name": unique("ci"), "role": "operator"})
    server.api("PATCH", f"/api/v1/devices/{device}", {"open": True}, token=token["token"])
    server.stop()
    server.start()
    (change,) = server.api("GET", f"/api/v1/audit?who={token['name']}")["items"]
    assert change["target"] == device and change["fields"] == ["open=true"] and change["remote"].startswith("127.0.0.1:"), change
    shown = server.cli("audit", "--target", device)
    assert shown.returncode == 0 and "PATCH /api/v1/devices/{id}" in shown.stdout and token["name"] in shown.stdout, shown
    assert token["token"] not in server.cli("audit", "--json").stdout
