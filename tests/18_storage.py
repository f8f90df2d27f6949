"""Acknowledged means kept, also when the disk does not play along: a disk that fails ends all promises, a full one
refuses what is new, damage is found and named, and a backup is a whole server."""

import pathlib
import shutil
import subprocess

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
