"""Acknowledged means kept, also when the disk does not play along: a disk that fails ends all promises, a full one
refuses what is new, damage is found and named, and a backup is a whole server."""

import re
import shutil
import sqlite3
import subprocess
import threading

import pytest

from harness import PATIENCE_S, PROGRAM, ROOT, Problem, Server, clean_environment, unique
from mqtt_wire import Client, puback, publish


def point(number, value=1):
    return publish("me/data", f'{{"t":{value}}}', qos=1, number=number)


def points(server, device):
    return server.api("GET", f"/api/v1/devices/{device['id']}/points?limit=1000")["items"]


def refuses(server):
    """Starts a server that is to refuse: what it says."""
    done = subprocess.run(
        [str(PROGRAM), "serve", "--data", str(server.data), "--set", "http.listen=127.0.0.1:0", "--set", "mqtt.listen=127.0.0.1:0",
         "--set", "espush.listen=127.0.0.1:0"],
        capture_output=True, text=True, timeout=PATIENCE_S, env=clean_environment(),
    )
    assert done.returncode == 1, done.stderr
    assert "panicked" not in done.stderr, done.stderr
    return done.stderr


# ---- a disk that fails ----


@pytest.fixture(scope="module")
def faulty_disk(tmp_path_factory):
    """A library that makes fsync fail while a file is there."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the program's own build needs a C compiler too"
    library = tmp_path_factory.mktemp("faulty") / "faulty_disk.so"
    source = ROOT / "tests" / "faulty_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def test_after_a_failed_fsync_nothing_is_acknowledged_any_more(fresh, faulty_disk, tmp_path):
    trigger = tmp_path / "fail"
    server = fresh(environment={"LD_PRELOAD": str(faulty_disk), "FAULTY_DISK": str(trigger)})
    device, other = server.device(), server.device()
    with Client(server, device) as client:
        client.send(point(1)).expect(puback(1))
    assert server.request("GET", "/healthz", token=None)[0] == 200
    with server.events() as events:
        trigger.touch()
        with Client(server, device) as client:
            client.send(point(2)).expect_end()
        alarm = events.until("alarm", alarm="disk_failed", raised=True)
        assert "fsync" in alarm["why"] and "restart espush" in alarm["why"]
    # The disk seems well again; what it lost meanwhile nobody knows.
    trigger.unlink()
    with Client(server, device) as client:
        client.send(point(3)).expect_end()
    refused = server.api("POST", "/api/v1/push", {"audience": {"device": other["id"]}, "text": "x"}, status=503)
    assert refused["code"] == "disk_failed" and "restart" in refused["hint"]
    assert server.api("POST", "/api/v1/apps", {"name": "x"}, status=503)["code"] == "disk_failed"
    assert server.request("GET", "/healthz", token=None)[0] == 503
    assert "fsync" in server.api("GET", "/api/v1/status")["store"]["failed"]
    assert "espush_store_failed 1" in server.request("GET", "/metrics")[2].decode()
    doctor = server.cli("doctor", "--token", "a-token-for-tests")
    assert doctor.returncode == 1 and "BAD  store   the disk failed" in doctor.stdout
    assert "the disk failed at fsync" in server.log()
    assert len(points(server, device)) == 1, "reading goes on"
    # It ends when it is told to, and says that it could not end well.
    server.process.terminate()
    server.process.wait(PATIENCE_S)
    server._closed()
    again = fresh(data=server.data)
    assert points(again, device)[0]["value"] == 1
    with Client(again, device) as client:
        client.send(point(4)).expect(puback(4))


# ---- a store that is full ----


def test_a_full_store_refuses_what_is_new_and_comes_back_by_itself(fresh):
    server = fresh(settings={"store.max_bytes": str(16 * 1024 * 1024)})
    app = server.app()
    keeper, filler = server.device(app), server.device(app)
    assert server.push(keeper["id"], "kept")["state"] == "queued"
    body = [{"stream": "text", "value": "x" * 2000, "at": f"2026-01-01T00:00:{n // 1000:02}.{n % 1000:03}Z"} for n in range(200)]
    with server.events() as events:
        with pytest.raises(Problem) as refused:
            for day in range(1, 32):
                for reading in body:
                    reading["at"] = f"2026-01-{day:02}{reading['at'][10:]}"
                server.api("POST", f"/api/v1/devices/{filler['id']}/points", body)
        assert refused.value.status == 507 and '"store_full"' in refused.value.body
        assert "store.max_bytes" in events.until("alarm", alarm="store_full", raised=True)["why"]
        with Client(server, keeper) as client:
            client.send(point(1)).expect_end()
        push = {"audience": {"device": keeper["id"]}, "text": "new"}
        assert server.api("POST", "/api/v1/push", push, status=507)["code"] == "store_full"
        assert server.api("POST", "/api/v1/devices", {"app": app["id"], "id": unique("late")}, status=507)["code"] == "store_full"
        assert server.request("GET", "/healthz", token=None)[0] == 200, "it serves all that it has"
        assert "espush_store_full 1" in server.request("GET", "/metrics")[2].decode()
        assert "BAD  store" in server.cli("doctor", "--token", "a-token-for-tests").stdout
        # What was acknowledged goes its way: the push is delivered, and its new state is kept.
        with Client(server, keeper) as client:
            client.subscribe("me/push")
            _, payload, _, number, _ = client.message()
            assert payload == b"kept"
            client.send(puback(number))
            events.until("delivery", device=keeper["id"], state="delivered")
        # A deletion makes room.
        server.api("DELETE", f"/api/v1/devices/{filler['id']}")
        events.until("alarm", alarm="store_full", raised=False)
    server.push(keeper["id"], "new")
    with Client(server, keeper) as client:
        client.send(point(2)).expect(puback(2))


# ---- damage ----


def a_stopped_server(fresh):
    """A server with a device and its points, stopped."""
    server = fresh()
    device = server.device()
    with Client(server, device) as client:
        for number in range(1, 301):
            client.send(point(number, number)).expect(puback(number))
    server.stop()
    return server, device


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def cli(*arguments):
    return subprocess.run(
        [str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, env=clean_environment()
    )


def test_a_flipped_bit_is_named_and_repaired(fresh):
    server, device = a_stopped_server(fresh)
    database = server.data / "espush.db"
    good = database.read_bytes()
    named = set()
    for page in range(1, len(good) // 4096, 4):
        database.write_bytes(good)
        flip(database, page * 4096 + 2000)
        said = refuses(server)
        assert f"page {page + 1}" in said and "espush repair --data" in said and "espush restore" in said, said
        named.update(re.findall(r"of the (?:table|index) (\w+)", said))
    assert len(named) > 3, named
    database.write_bytes(good)
    flip(database, 100)
    said = refuses(server)
    assert "page 1 of the table sqlite_schema" in said
    done = cli("repair", "--data", server.data)
    assert done.returncode == 0, done.stderr
    assert "points" in done.stdout and "300" in done.stdout and "espush.db.damaged-" in done.stdout
    assert next(server.data.glob("espush.db.damaged-*")).stat().st_size == len(good)
    again = fresh(data=server.data)
    assert len(points(again, device)) == 300


def test_a_file_that_was_cut_off_or_lost_is_never_taken_for_a_new_one(fresh):
    server, _ = a_stopped_server(fresh)
    database = server.data / "espush.db"
    good = database.read_bytes()
    for length in (len(good) - 4096, len(good) // 2, 1000, 0):
        database.write_bytes(good[:length])
        assert "is damaged" in refuses(server)
    database.unlink()
    assert "missing" in refuses(server)


def test_a_key_that_is_missing_or_changed_is_told(fresh):
    server, _ = a_stopped_server(fresh)
    key = server.data / "secret.key"
    good = key.read_bytes()
    flip(key, 7)
    assert "not the key" in refuses(server)
    key.write_bytes(good[:31])
    assert "32 bytes" in refuses(server)
    key.unlink()
    assert "the key is missing" in refuses(server) and not key.exists()
    key.write_bytes(good)
    fresh(data=server.data)


def test_data_of_a_newer_program_is_refused_untouched(fresh):
    server, _ = a_stopped_server(fresh)
    database = server.data / "espush.db"
    database.unlink()
    newer = sqlite3.connect(database)
    newer.execute("CREATE TABLE future (x)")
    newer.execute(f"PRAGMA application_id = {0x65737075}")
    newer.execute("PRAGMA user_version = 999")
    newer.commit()
    newer.close()
    before = database.read_bytes()
    assert "was written by a newer espush (schema 999" in refuses(server)
    refused = cli("backup", server.data.parent / "b", "--data", server.data)
    assert refused.returncode == 1 and "newer espush" in refused.stderr
    assert database.read_bytes() == before


# ---- backup and restore ----


def test_a_backup_under_load_is_the_same_server_elsewhere(fresh, background, tmp_path):
    server = fresh()
    device, other = server.device(), server.device()
    push = server.push(other["id"], "for later")
    stop = threading.Event()

    def load():
        last = 0
        with Client(server, device) as client:
            while not stop.is_set() or last < 100:
                last += 1
                client.send(point(last % 65000 + 1, last)).expect(puback(last % 65000 + 1))
        return last

    loading = background(load)
    backups = []
    for number in range(3):
        file = tmp_path / f"backup-{number}"
        acknowledged = len(points(server, device))
        done = server.cli("backup", str(file))
        assert done.returncode == 0, done.stderr
        assert "100 %" in done.stderr, "plain lines where nobody watches"
        backups.append((file, acknowledged))
    stop.set()
    last = loading.result()
    assert len(points(server, device)) == min(last, 1000), "it never stopped"
    for file, acknowledged in backups:
        assert file.stat().st_mode & 0o777 == 0o600
        elsewhere = tmp_path / f"elsewhere-{file.name}" / "data"
        done = cli("restore", file, "--data", elsewhere)
        assert done.returncode == 0, done.stderr
        restored = fresh(data=elsewhere)
        values = [item["value"] for item in points(restored, device)]
        assert len(values) >= acknowledged and values == list(range(1, len(values) + 1))
        assert restored.delivery(push["push"])["state"] == "queued"
        # The key came along: the secrets of old open the door.
        with Client(restored, other) as client:
            client.subscribe("me/push")
            assert client.message()[1] == b"for later"
        restored.stop()


def test_a_damaged_backup_and_a_used_directory_are_refused(fresh, tmp_path):
    server = fresh()
    device = server.device()
    file = tmp_path / "backup"
    assert server.cli("backup", str(file)).returncode == 0
    again = server.cli("backup", str(file))
    assert again.returncode == 1 and "--force" in again.stderr
    assert server.cli("backup", str(file), "--force").returncode == 0
    in_use = cli("restore", file, "--data", server.data, "--force")
    assert in_use.returncode == 1 and "in use" in in_use.stderr
    server.stop()
    not_empty = cli("restore", file, "--data", server.data)
    assert not_empty.returncode == 1 and "--force" in not_empty.stderr
    damaged = tmp_path / "damaged"
    shutil.copy(file, damaged)
    flip(damaged, 5000)
    refused = cli("restore", damaged, "--data", server.data, "--force")
    assert refused.returncode == 1 and "its checksum does not fit" in refused.stderr
    assert not list(tmp_path.glob("*.before-*")), "nothing was touched"
    done = cli("restore", file, "--data", server.data, "--force")
    assert done.returncode == 0, done.stderr
    (aside,) = server.data.parent.glob(f"{server.data.name}.before-*")
    assert (aside / "espush.db").exists() and str(aside) in done.stdout
    restored = fresh(data=server.data)
    assert restored.api("GET", f"/api/v1/devices/{device['id']}")["id"] == device["id"]
