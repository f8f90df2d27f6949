"""Looking after a fleet, further: notes about devices, QR codes, and what becomes of things that are over."""

import importlib
import json

from harness import TOKEN, unique
from mqtt_wire import Client, puback, publish

Board = importlib.import_module("03_espush_devices").Board


def test_notes_are_written_asked_for_and_carried_in_files(server):
    app = server.app()
    name = unique("noted")
    arguments = [
        "--app",
        str(app["id"]),
        "--meta",
        "room=B 12",
        "--meta",
        "floor=3",
        "--meta",
        'serial="007"',
    ]
    made = server.cli("device", "add", name, *arguments)
    assert made.returncode == 0 and 'meta      room = "B 12"' in made.stdout, made
    edited = server.cli(
        "device", "edit", name, "--meta", "floor=", "--meta", "楼=东", "--json"
    )
    meta = {"room": "B 12", "serial": "007", "楼": "东"}
    assert json.loads(edited.stdout)["meta"] == meta, edited
    found = server.cli(
        "device",
        "list",
        "--query",
        f"app = {app['id']} and meta.room starts b and meta.楼 = 东",
    )
    assert name in found.stdout, found
    bad = server.cli("device", "edit", name, "--meta", "a b=1")
    assert bad.returncode == 1 and "cannot be a name in meta" in bad.stderr, bad
    file = server.cli("device", "export", "--app", str(app["id"])).stdout
    assert file.splitlines()[0].endswith(",meta.room,meta.serial,meta.楼"), file
    server.cli("device", "edit", name, "--meta", "room=elsewhere", "--meta", "new=1")
    assert server.cli("device", "import", "-", stdin=file).returncode == 0
    kept = {**meta, "new": 1}
    assert server.api("GET", f"/api/v1/devices/{name}")["meta"] == kept
    server.stop()
    server.start()
    assert server.api("GET", f"/api/v1/devices/{name}")["meta"] == kept


def test_qr_codes_are_printed_and_written_and_never_logged(server, tmp_path):
    app = server.app()
    name = server.device(app)["id"]
    shown = server.cli("device", "qr", name)
    lines = shown.stdout.splitlines()
    # Two modules a line; square with its quiet margin.
    assert shown.returncode == 0 and len({len(line) for line in lines}) == 1, shown
    assert len(lines) == (len(lines[0]) + 1) // 2 and set(shown.stdout) <= set(
        "█▀▄ \n"
    ), shown
    for kind, begin in [("png", b"\x89PNG"), ("svg", b"<svg ")]:
        file = tmp_path / f"app.{kind}"
        assert (
            server.cli("app", "qr", str(app["id"]), "--out", str(file)).returncode == 0
        )
        assert file.read_bytes().startswith(begin)
    key = server.cli("app", "qr", str(app["id"]), "--provisioning")
    assert key.returncode == 0 and len(key.stdout.splitlines()[0]) > len(lines[0]), (
        "it says more than a link"
    )
    secret = server.cli("device", "secret", name, "--qr", "--host", "push.example.org")
    assert (
        secret.returncode == 0
        and len(secret.stdout.split()) == 1
        and "█" in secret.stderr
    ), secret
    made = server.cli("device", "add", unique("qr"), "--app", str(app["id"]), "--qr")
    assert made.returncode == 0 and "█" in made.stderr and "--host" in made.stderr, made
    assert app["key"] not in server.log() and secret.stdout.strip() not in server.log()
    status, headers, _ = server.request(
        "GET", f"/api/v1/apps/{app['id']}/qr?content=provisioning", token=TOKEN
    )
    assert (status, headers["cache-control"], headers["content-type"]) == (
        200,
        "no-store",
        "image/png",
    )


def test_a_board_that_knocks_at_a_closed_app_is_adopted(server):
    app = server.app()
    board = {"id": str(app["id"]), "secret": app["key"]}
    newcomer = f"{app['id']}-8454703"
    with server.events() as events:
        with Client(server, board, client="8454703", greet=False) as refused:
            assert refused.read(4)[3] != 0
        knock = events.until("knock", device=newcomer)
        assert knock["code"] == "app_closed", knock
    listed = server.cli("knocks")
    assert newcomer in listed.stdout, listed
    # One with a wrong key cannot be let in by mistake.
    wrong = {**board, "secret": "0" * 32}
    with (
        server.events() as events,
        Client(server, wrong, client="1", greet=False) as refused,
    ):
        assert refused.read(4)[3] != 0
        assert "device" not in events.until("knock", code="bad_app_key")
    unknown = server.cli("device", "adopt", f"{app['id']}-1")
    assert unknown.returncode == 1 and "has knocked" in unknown.stderr, unknown
    adopted = server.cli("device", "adopt", newcomer)
    assert (
        adopted.returncode == 0
        and newcomer in adopted.stdout
        and "secret" not in adopted.stdout
    ), adopted
    with Client(server, board, client="8454703") as line:
        line.subscribe(("me/push", 1))
        server.push(newcomer, "hello")
        assert line.message()[1] == b"hello"


def test_what_is_wrong_has_the_outcome_that_the_page_says(server):
    """Each row of "When something is wrong" in docs/*/pushes.md. The clock that is set forward and back over a schedule is
    in crates/schedule/tests/runs.rs: a test of the program cannot set the system's clock."""
    device = server.device()["id"]

    def refused(audience, code, status, **order):
        before = server.api("GET", "/api/v1/pushes?limit=1")["items"]
        problem = server.api(
            "POST",
            "/api/v1/push",
            {"audience": audience, "text": "x", **order},
            status=status,
        )
        assert problem["code"] == code, problem
        assert server.api("GET", "/api/v1/pushes?limit=1")["items"] == before, (
            "nothing was pushed"
        )
        return problem

    wrong = refused({"where": "app = 7 and temp > 30"}, "bad_where", 400)
    assert (wrong["position"], wrong["hint"]) == (13, "did you mean `data.temp`?")
    assert "ghost" in refused({"device": "ghost"}, "no_such_device", 404)["detail"]
    assert (
        "ghost"
        in refused({"devices": [device, "ghost"]}, "no_such_device", 404)["detail"]
    )
    seen = server.api(
        "POST",
        "/api/v1/push/preview",
        {"audience": {"devices": [device, "ghost"]}, "text": "x"},
    )
    assert seen["unknown"] == ["ghost"]
    refused({"where": "id = nobody-at-all"}, "audience_empty", 404)
    refused({"device": device}, "payload_too_large", 413, text="x" * 261_121)
    queued = server.push(device, "x", wait_ms=60_000)
    assert queued["state"] == "queued" and queued["detail"], queued

    quiet = server.device()
    with Client(server, quiet) as line:
        line.subscribe(("me/ask/+", 1))
        asked = server.push(quiet["id"], "x", ask=True, wait_ms=1)
        _, _, _, number, _ = line.message()
        line.send(puback(number) + publish(f"me/answer/{asked['push']}", "late", 1, 7))
        with server.events(quiet["id"]) as events:
            if server.delivery(asked["push"])["state"] != "applied":
                events.until("delivery", push=asked["push"], state="applied")

    app = server.app(open=True)
    with Board(server, app) as board:
        server.until_online(board.id)
        order = {"audience": {"device": board.id}, "text": "x" * 5000}
        (reason,) = server.api("POST", "/api/v1/push/preview", order)["reasons"]
        assert reason["reason"] == "payload_too_large", reason
        told = server.api("POST", "/api/v1/push", {**order, "wait_ms": 60_000})[
            "deliveries"
        ][0]
        assert told["state"] == "refused" and told["detail"], told

    rows = f"id,app\n{unique('twice')},{app['id']}\n"
    twice = server.cli(
        "device", "import", "-", stdin=rows + rows.splitlines()[1] + "\n"
    )
    assert (
        twice.returncode == 1
        and "line 3" in twice.stderr
        and "line 2 has this id already" in twice.stderr
    ), twice
