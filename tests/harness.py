"""The built program as a black box: starts `espush serve` on free ports in a directory of its own, talks to
it as the world does, and stops it. Waits for what happens (a line, bytes, an event), never for time to pass;
every wait has the one bound PATIENCE_S, after which the test fails with what was seen so far.
"""

import http.client
import itertools
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading

PATIENCE_S = 40
ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("ESPUSH_BIN", ROOT / "target" / "debug" / "espush"))
TOKEN = "a-token-for-tests"

_numbers = itertools.count(1)


def unique(prefix):
    """A name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


def hx(text):
    """Bytes from hex as the protocol descriptions print it."""
    return bytes.fromhex(text.replace("|", " "))


def clean_environment(**more):
    """The environment without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ESPUSH_")}
    return {**kept, **more}


class Problem(AssertionError):
    """The API answered with an error that the test did not ask for."""

    def __init__(self, what, status, body):
        super().__init__(f"{what} answered {status}: {body}")
        self.status = status
        self.body = body


class Server:
    """One running server. `ports` maps a listener's name to its port."""

    def __init__(self, data, settings=None, demo=False, environment=None, program_arguments=(), files=None):
        """`files`: the most that it may open."""
        self.data = pathlib.Path(data)
        self.files = files
        self.settings = {
            "http.listen": "127.0.0.1:0",
            "mqtt.listen": "127.0.0.1:0",
            "espush.listen": "127.0.0.1:0",
            "auth.bootstrap_token": TOKEN,
            "shards": "2",
            **(settings or {}),
        }
        self.demo = demo
        self.environment = environment or {}
        self.program_arguments = list(program_arguments)
        self.process = None

    # ---- life ----

    def start(self):
        arguments = [str(PROGRAM), "serve", "--data", str(self.data)]
        for name, value in self.settings.items():
            arguments += ["--set", f"{name}={value}"]
        if self.demo:
            arguments.append("--demo")
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.log_path = self.data.parent / f"{self.data.name}.log"
        self.log_file = open(self.log_path, "ab")
        within = [] if self.files is None else ["prlimit", f"--nofile={self.files}:{self.files}"]
        self.process = subprocess.Popen(
            within + arguments + self.program_arguments,
            stdout=subprocess.PIPE,
            stderr=self.log_file,
            stdin=subprocess.DEVNULL,
            env=clean_environment(**self.environment),
            cwd=self.data.parent,
            text=True,
        )
        self.stdout = []
        self.ports = {}
        self._lines = queue.Queue()
        threading.Thread(target=self._read_stdout, args=(self.process.stdout,), daemon=True).start()
        while True:
            line = self._next_line()
            if line is None:
                code = self.process.wait(PATIENCE_S)
                self._closed()
                raise AssertionError(f"the server ended with {code} before it was ready\n{self.log()}")
            if line == "ready":
                return self
            if line.startswith("listening "):
                _, name, address = line.split(" ")
                self.ports[name] = int(address.rsplit(":", 1)[1])

    def _read_stdout(self, pipe):
        for line in pipe:
            self.stdout.append(line.rstrip("\n"))
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _next_line(self):
        try:
            return self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"the server said nothing more; so far {self.stdout}\n{self.log()}") from None

    def stop(self):
        """SIGTERM: the server drains and exits 0. Nothing in its log may tell of a panic."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop\n{self.log()}") from None
        self._closed()
        assert code == 0, f"exit code {code}\n{self.log()}"
        assert "panicked" not in self.log(), self.log()

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._closed()

    def _closed(self):
        self.log_file.close()
        self.process.stdout.close()
        self.process = None

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self.process is None:
            return
        if kind is None:
            self.stop()
        else:
            self.kill()

    # ---- HTTP ----

    def request(self, method, path, body=None, token=TOKEN, headers=None):
        """One HTTP exchange: (status, headers, body as bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=PATIENCE_S)
        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        if isinstance(body, (dict, list)):
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def api(self, method, path, body=None, token=TOKEN, status=None):
        """One call of the API. Fails unless the status is `status` (or any 2xx, when none is given)."""
        got, headers, raw = self.request(method, path, body, token)
        good = got == status if status else 200 <= got < 300
        if not good:
            raise Problem(f"{method} {path}", got, raw.decode(errors="replace"))
        if got >= 400:
            assert headers["Content-Type"].startswith("application/problem+json"), headers["Content-Type"]
        return json.loads(raw) if raw else None

    def push(self, device, body=None, wait_ms=0, **order):
        """Pushes to one device; the one delivery, with the push's id in it."""
        if body is not None:
            order["text"] = body
        answer = self.api("POST", "/api/v1/push", {"audience": {"device": device}, "wait_ms": wait_ms, **order})
        (delivery,) = answer["deliveries"]
        return {**delivery, "push": answer["id"]}

    def delivery(self, push):
        (delivery,) = self.api("GET", f"/api/v1/pushes/{push}/deliveries")["items"]
        return delivery

    def app(self, **about):
        return self.api("POST", "/api/v1/apps", {"name": unique("app"), **about})

    def device(self, app=None, **about):
        """Registers a device (in an app of its own, when none is given): the API's answer, with the secret."""
        app = app or self.app()
        return self.api("POST", "/api/v1/devices", {"app": app["id"], "id": unique("dev"), **about})

    def events(self, device=None):
        return Events(self, device)

    def until_online(self, device):
        """A device that was let in is online a moment later: presence is told by the shards, not asked of them."""
        with self.events(device) as events:
            if not self.api("GET", f"/api/v1/devices/{device}")["online"]:
                events.until("presence", device=device, online=True)

    # ---- the command line ----

    def cli(self, *arguments, stdin=""):
        """Runs another command of the program against this server."""
        return subprocess.run(
            [str(PROGRAM), *arguments, "--data", str(self.data)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=clean_environment(),
        )

    # ---- raw lines ----

    def line(self, listener):
        return Line(self.ports[listener])


class Line:
    """A TCP connection that expects bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(hx(data) if isinstance(data, str) else data)
        return self

    def read(self, count):
        """Exactly `count` bytes."""
        seen = b""
        while len(seen) < count:
            try:
                more = self.socket.recv(count - len(seen))
            except TimeoutError:
                raise AssertionError(f"expected {count} bytes, got only {seen.hex(' ')!r} and then silence") from None
            except ConnectionResetError:
                more = b""
            if not more:
                raise AssertionError(f"expected {count} bytes, got only {seen.hex(' ')!r} and then the end")
            seen += more
        return seen

    def expect(self, data):
        """Exactly these bytes come next."""
        wanted = hx(data) if isinstance(data, str) else data
        got = self.read(len(wanted))
        assert got == wanted, f"\nwanted {wanted.hex(' ')}\ngot    {got.hex(' ')}"
        return self

    def expect_end(self):
        """The server closes, and says nothing more before."""
        rest = b""
        try:
            while more := self.socket.recv(4096):
                rest += more
        except ConnectionResetError:
            pass
        except TimeoutError:
            raise AssertionError("the server did not close the line") from None
        assert rest == b"", f"before the end came {rest.hex(' ')}"

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Events:
    """The live events of a server, in order."""

    def __init__(self, server, device=None, last_id=None):
        self.server = server
        path = "/api/v1/events" + (f"?device={device}" if device else "")
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        self.connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=PATIENCE_S)
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")
        self.last_id = last_id

    def next(self):
        """The next event: (name, data)."""
        name, data = "message", []
        while True:
            line = self.answer.readline()
            if not line:
                raise AssertionError("the stream of events ended")
            line = line.decode().rstrip("\r\n")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                self.last_id = value
            elif not line and data:
                return name, json.loads("\n".join(data))

    def until(self, wanted, **members):
        """Skips to the first event of that name whose members are these."""
        seen = []
        while True:
            try:
                name, data = self.next()
            except TimeoutError:
                raise AssertionError(f"no {wanted} with {members}; seen: {seen}") from None
            seen.append((name, data))
            if name == wanted and all(data.get(key) == value for key, value in members.items()):
                return data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
