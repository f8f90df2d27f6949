"""Webhooks: events told to other people's servers. The targets are servers of the test's own, so the program is told that
private addresses may be called, except where that is what is tested."""

import http.server
import json
import queue
import sys
import threading
import time

import pytest

from harness import PATIENCE_S, ROOT, Server, unique

sys.path.insert(0, str(ROOT / "clients" / "python" / "src"))

from espush import WebhookError, verify_webhook  # noqa: E402

QUICK = {"webhooks.allow_private": "true", "webhooks.first_retry_ms": "10", "webhooks.attempts": "2"}


class Target(http.server.ThreadingHTTPServer):
    """Somebody's server. It answers what `answers` says, then 204; `None` is no answer before the test ends."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts, self.answers, self.over = queue.Queue(), list(answers), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?from=espush"

    def next(self):
        return self.posts.get(timeout=PATIENCE_S)

    def until(self, event, **fields):
        """The next post of this event; others are passed over."""
        while True:
            headers, body = self.next()
            told = json.loads(body)
            if told["event"] == event and all(told["data"].get(name) == value for name, value in fields.items()):
                return headers, body, told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        self.server.posts.put(({name.lower(): value for name, value in self.headers.items()}, body.decode()))
        if answer is None:
            self.server.over.wait(PATIENCE_S)
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server") / "data", settings=QUICK) as running:
        yield running


def add(server, url, **more):
    return server.api("POST", "/api/v1/webhooks", {"name": unique("hook"), "url": url, **more})


def shown(server, hook):
    return server.api("GET", f"/api/v1/webhooks/{hook['id']}")


def until_failed(server, hook, count):
    """The failed deliveries, once there are so many; each look is a call that takes its time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if shown(server, hook)["failed"] >= count:
            return server.api("GET", f"/api/v1/webhooks/{hook['id']}/failed")["items"]
    raise AssertionError(shown(server, hook))


def test_events_arrive_signed_and_only_those_that_were_asked_for(open_server):
    app = open_server.app()
    with Target() as target:
        hook = add(open_server, target.url, kinds=["device"], where=f"app = {app['id']}")
        open_server.device()
        device = open_server.device(app)["id"]
        headers, body, told = target.until("device")
        assert told["data"] == {"device": device, "change": "registered"}, told
        assert headers["content-type"] == "application/json" and headers["user-agent"].startswith("espush/")
        verify_webhook(body, headers, hook["secret"])
        with pytest.raises(WebhookError):
            verify_webhook(body.replace(device, "other"), headers, hook["secret"])
        new = open_server.api("POST", f"/api/v1/webhooks/{hook['id']}/secret", {"overlap_s": 600})
        open_server.api("PATCH", f"/api/v1/devices/{device}", {"name": "Lamp"})
        headers, body, _ = target.until("device", change="edited")
        for secret in (hook["secret"], new["secret"]):
            verify_webhook(body, headers, secret)
        open_server.api("DELETE", f"/api/v1/webhooks/{hook['id']}")


def test_one_that_fails_and_recovers_gets_it_under_the_same_id(open_server):
    with Target(500, (302, {"Location": "http://127.0.0.1:1/"})) as target:
        hook = add(open_server, target.url, kinds=["device"])
        device = open_server.device()["id"]
        first = target.until("device", device=device)
        second = target.until("device", device=device)
        assert first[0]["webhook-id"] == second[0]["webhook-id"] and first[1] == second[1]
        (failed,) = until_failed(open_server, hook, 1)
        assert failed["tries"] == 2 and "redirects are not followed" in failed["error"], failed
        listed = open_server.cli("webhook", "failed", str(hook["id"]))
        assert listed.returncode == 0 and "redirects are not followed" in listed.stdout, listed
        replayed = open_server.cli("webhook", "replay", str(hook["id"]))
        assert replayed.returncode == 0 and "1" in replayed.stdout, replayed
        third = target.until("device", device=device)
        assert third[0]["webhook-id"] == first[0]["webhook-id"]
        open_server.api("DELETE", f"/api/v1/webhooks/{hook['id']}")


def test_one_that_hangs_holds_up_no_other(fresh):
    server = fresh(settings={**QUICK, "webhooks.timeout_ms": "500"})
    with Target(*[None] * 100) as hanging, Target() as well:
        stuck = add(server, hanging.url, kinds=["device"])
        add(server, well.url, kinds=["device"])
        devices = [server.device()["id"] for _ in range(6)]
        seen = {well.until("device")[2]["data"]["device"] for _ in devices}
        assert seen == set(devices)
        failed = until_failed(server, stuck, 6)
        metrics = server.request("GET", "/metrics")[2].decode()
        assert "espush_webhook_deliveries_failed 6\n" in metrics and "espush_webhooks_failing 1\n" in metrics, metrics
        assert {row["error"] for row in failed} == {"did not answer within 500 ms"}, failed
        test = server.api("POST", f"/api/v1/webhooks/{stuck['id']}/test")
        assert test == {"taken": False, "why": "did not answer within 500 ms"}, test


def test_what_waits_survives_a_restart_and_a_crash_is_told(fresh):
    server = fresh(settings={**QUICK, "webhooks.attempts": "20", "webhooks.first_retry_ms": "100"})
    with Target(*[503] * 3) as target:
        hook = add(server, target.url, kinds=["device"])
        device = server.device()["id"]
        target.until("device", device=device)
        server.stop()
        server.start()
        headers, body, _ = target.until("device", device=device)
        verify_webhook(body, headers, hook["secret"])
        server.kill()
        server.start()
        assert "without being stopped" in target.until("gap")[2]["data"]["why"]


def test_only_public_addresses_are_called_unless_it_is_allowed(server):
    with Target() as target:
        for url in (target.url, "http://169.254.169.254/latest/meta-data", "http://[::1]/", "http://[::ffff:10.0.0.1]:80/"):
            refused = server.api("POST", "/api/v1/webhooks", {"name": "x", "url": url}, status=400)
            assert refused["code"] == "address_refused", refused
        # A name is looked at when it is called.
        hook = add(server, target.url.replace("127.0.0.1", "localhost"))
        test = server.api("POST", f"/api/v1/webhooks/{hook['id']}/test")
        assert not test["taken"] and "is not called" in test["why"], test
        assert target.posts.empty()


def test_the_command_line_makes_lists_and_switches(open_server):
    with Target() as target:
        made = open_server.cli("webhook", "add", "ops", target.url, "--kind", "presence,knock", "--query", "online")
        assert made.returncode == 0 and made.stdout.startswith("whsec_") and "not shown again" in made.stderr, made
        hook = [h for h in open_server.api("GET", "/api/v1/webhooks")["items"] if h["name"] == "ops"][0]
        assert hook["kinds"] == ["presence", "knock"] and hook["where"] == "online", hook
        tested = open_server.cli("webhook", "test", str(hook["id"]))
        assert tested.returncode == 0, tested
        headers, body, told = target.until("test")
        verify_webhook(body, headers, made.stdout.strip())
        assert open_server.cli("webhook", "off", str(hook["id"])).returncode == 0
        listed = open_server.cli("webhook", "list")
        assert "ops" in listed.stdout and "off" in listed.stdout, listed
        assert open_server.cli("webhook", "on", str(hook["id"])).returncode == 0
        target.until("gap")
        secret = open_server.cli("webhook", "secret", str(hook["id"]), "--overlap", "0s")
        assert secret.returncode == 0 and secret.stdout.startswith("whsec_"), secret
        assert open_server.cli("webhook", "delete", str(hook["id"])).returncode == 0
        gone = open_server.cli("webhook", "test", str(hook["id"]))
        assert gone.returncode == 1 and "no webhook" in gone.stderr, gone
