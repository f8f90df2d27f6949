"""`espush bench` against this server and against the real mosquitto: every sub-command runs briefly, and what it
counts must add up. How fast it was is nobody's business here.
"""

import json
import shutil
import subprocess

import pytest

from harness import PATIENCE_S, PROGRAM, Server, clean_environment

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """The broker on a free port. Its bound on queued messages is off: what it would drop is not the subject."""

    def __init__(self, directory):
        assert MOSQUITTO, "mosquitto is missing; run: apt-get install mosquitto"
        self.config = directory / "mosquitto.conf"

    def __enter__(self):
        import socket

        while True:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            self.config.write_text(
                f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nlog_type information\nlog_dest stderr\n"
            )
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stderr=subprocess.PIPE, text=True)
            # It says that it runs when its listener does; an end without that was somebody else on the port.
            if any(" running" in line for line in self.process.stderr):
                self.pid = self.process.pid
                return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.process.stderr.close()


@pytest.fixture(scope="module", params=["espush", "mosquitto"])
def broker(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "mosquitto":
        with Mosquitto(directory) as running:
            yield running
    else:
        with Server(directory / "data", settings={"auth.anonymous": "true"}) as running:
            running.port, running.pid = running.ports["mqtt"], running.process.pid
            yield running


def bench(port, *arguments, code=0):
    """Runs the command; its JSON."""
    done = subprocess.run(
        [str(PROGRAM), "bench", *arguments, "--port", str(port), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=clean_environment(),
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def whole(outcome, connections, messages, received, acknowledged):
    """Everybody came, everything was sent, nothing is missing, nothing came twice."""
    names = ("connected", "failed", "dropped", "sent", "acknowledged", "refused", "expected", "received")
    assert [outcome[name] for name in names] == [connections, 0, 0, messages, acknowledged, 0, received, received], outcome
    assert outcome["connect_latency"]["count"] == connections


def test_idle_connections_are_counted_and_what_they_cost(broker):
    outcome = bench(broker.port, "conns", "--count", "60", "--time", "100ms", "--pid", str(broker.pid))
    whole(outcome, 60, 0, 0, 0)
    assert outcome["server"]["memory_before_bytes"] > 0
    assert outcome["server"]["memory_connected_bytes"] > 0


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_fan_in(broker, qos, version):
    shape = ["--publishers", "7", "--subscribers", "2", "--messages", "300", "--window", "50"]
    outcome = bench(broker.port, "fanin", *shape, "--qos", str(qos), "--mqtt", version)
    whole(outcome, 9, 300, 600, 300 if qos else 0)
    assert outcome["delivery_latency"]["count"] == 600
    assert outcome["acknowledge_latency"]["count"] == (300 if qos else 0)


def test_fan_out(broker):
    whole(bench(broker.port, "fanout", "--subscribers", "40", "--messages", "25"), 41, 25, 1000, 0)


def test_pairs_at_a_rate(broker):
    outcome = bench(broker.port, "pairs", "--count", "10", "--rate", "400", "--time", "500ms", "--qos", "1")
    whole(outcome, 20, 200, 200, 200)


def test_push_to_random_devices(broker):
    whole(bench(broker.port, "push", "--devices", "50", "--rate", "1000", "--messages", "200"), 51, 200, 200, 0)


def test_pings(broker):
    outcome = bench(broker.port, "ping", "--count", "10", "--messages", "500")
    whole(outcome, 10, 500, 0, 500)
    assert outcome["acknowledge_latency"]["count"] == 500


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_those_that_were_away_come_back_for_everything(broker, version):
    shape = ["--count", "5", "--messages", "50", "--qos", "1", "--away", "--mqtt", version, "--name", "away"]
    # Twice under the same names: the first run has left no session behind that would bring anything to the second.
    for _ in range(2):
        outcome = bench(broker.port, "pairs", *shape)
        whole(outcome, 10, 50, 50, 50)
        assert outcome["collected"] == 50
        assert outcome["delivery_latency"]["count"] == 0, "being away is no latency"


def test_devices_register_themselves(server):
    app = server.app(open=True)
    credentials = ["--app", str(app["id"]), "--key", app["key"]]
    whole(bench(server.ports["mqtt"], "push", "--devices", "5", "--messages", "20", "--qos", "1", *credentials), 6, 20, 20, 20)
    assert server.api("GET", f"/api/v1/devices/{app['id']}-6")["app"] == app["id"]


def test_users_have_numbers_and_a_refusal_is_told(server):
    device = server.device(id="bench-board-0")
    arguments = ["conns", "--count", "2", "--time", "10ms", "--user", "bench-board-{i}", "--password", device["secret"]]
    outcome = bench(server.ports["mqtt"], *arguments, code=1)
    assert (outcome["connected"], outcome["failed"]) == (1, 1)
    assert "refuses the login" in outcome["trouble"]


def test_several_processes_share_what_one_may_not_open(server):
    import resource

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    app = server.app(open=True)
    shape = ["pairs", "--count", "40", "--messages", "200", "--qos", "1", "--app", str(app["id"]), "--key", app["key"]]
    done = subprocess.run(
        [str(PROGRAM), "bench", *shape, "--port", str(server.ports["mqtt"]), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=clean_environment(),
        preexec_fn=few_files,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    outcome = json.loads(done.stdout)
    assert outcome["workers"] > 1
    whole(outcome, 80, 200, 200, 200)


def test_nobody_there_is_a_sentence(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = subprocess.run([str(PROGRAM), "bench", "conns", "--port", str(port)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "not one connection could be made" in done.stderr
