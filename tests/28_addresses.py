"""Every party has a number, and a message goes to the one who has it, whatever either side speaks: a page on a
WebSocket, an ES-PUSH board on raw TCP, an MQTT board, a program at the API, the command line."""

import importlib
import json
import subprocess

from harness import PATIENCE_S, PROGRAM, TOKEN, clean_environment, unique
from mqtt_wire import Client, puback, publish

Board = importlib.import_module("03_espush_devices").Board
frame = importlib.import_module("03_espush_devices").frame
Socket = importlib.import_module("23_events_over_websocket").Socket

PUSH, PUSHED, UPLOAD, UART = 4, 5, 6, 0x22


class Page(Socket):
    """A page that is open, by its number."""

    def __init__(self, server, token=TOKEN, query="?events=false"):
        super().__init__(server, query, token=token)
        assert self.status == 101
        hello = self.next("hello")["hello"]
        self.number, self.token_number = hello["number"], hello["token_number"]

    def write(self, to, text, ref=1):
        self.say({"ref": ref, "send": {"to": to, "text": text}})
        return self.outcome(ref)

    def outcome(self, ref):
        message = self.next("ref")
        assert message["ref"] == ref
        return message.get("sent") or message["problem"]["code"]

    def heard(self):
        return self.next("message")["message"]


class Listening(Client):
    """An MQTT board that hears what is written to it."""

    def __init__(self, server, device, **options):
        super().__init__(server, device, **options)
        self.device = device
        self.number = server.api("GET", f"/api/v1/devices/{device['id']}")["number"]
        self.subscribe("me/from/+")

    def write(self, to, payload, qos=1, packet=7):
        self.send(publish(f"me/to/{to}", payload, qos, packet if qos else None))
        return self

    def acknowledged(self, packet=7):
        self.expect(puback(packet))
        return self

    def heard(self):
        topic, payload, _, number, _ = self.message()
        if number:
            self.send(puback(number))
        return topic, payload

    def hears_nothing(self):
        """What comes next is the answer to a ping, and nothing before it."""
        self.send(b"\xc0\x00").expect(b"\xd0\x00")


def test_a_page_and_an_es_push_board_on_raw_tcp(server):
    with Board(server) as board, Page(server) as page, Page(server) as stranger:
        number = server.api("GET", f"/api/v1/devices/{board.id}")["number"]
        assert page.number != stranger.number and page.number >= 3 << 30 > number
        assert page.write(number, "HELLO") == {"from": page.number, "to": number, "state": "sent"}
        msgid, kind, body = board.pushed()
        assert (kind, body) == (PUSH, b"HELLO")
        board.send(frame(msgid, PUSHED, b"\x00"))
        # The protocol has no field for a destination. As on the original service, what the board streams goes to the page
        # that wrote to it, and what it uploads are points.
        board.send(frame(2, UART, b"OK\r\n"))
        heard = page.heard()
        assert (heard["from"], heard["device"], heard["to"], heard["text"]) == (number, board.id, page.number, "OK\r\n")
        board.send(frame(3, UPLOAD, bytes(6) + b"wd,2700"))
        assert board.pushed()[:2] == (3, UPLOAD + 1)
        assert stranger.write(board.id, "AGAIN", ref="x")["state"] == "sent"
        msgid, _, body = board.pushed()
        board.send(frame(msgid, PUSHED, b"\x00")).send(frame(4, UART, b"for the other"))
        assert (body, stranger.heard()["text"]) == (b"AGAIN", "for the other")
        assert page.write(page.number, "and nothing else came") and page.heard()["text"] == "and nothing else came"


def test_a_page_and_an_mqtt_board(server):
    with Listening(server, server.device()) as board, Page(server) as page:
        board.write(page.number, b"unasked").acknowledged()
        assert page.write(board.number, "on?")["state"] == "sent"
        assert board.heard() == (f"me/from/{page.number}", b"on?")
        board.write(page.number, b"yes").acknowledged().write(page.number, b"quite", qos=0)
        heard = [page.heard(), page.heard()]
        assert [message["text"] for message in heard] == ["yes", "quite"], "and not what was not asked for"
        assert (heard[0]["from"], heard[0]["device"]) == (board.number, board.device["id"])


def test_mqtt_boards_among_themselves_and_with_an_es_push_board(server):
    app = server.app(open=True)
    with Listening(server, server.device(app)) as one, Listening(server, server.device(app)) as other, Board(server, app) as old:
        one.write(other.number, b"\x00raw\xff").acknowledged()
        assert other.heard() == (f"me/from/{one.number}", b"\x00raw\xff")
        with server.events(other.device["id"]) as events:
            other.write(one.number, b"back", qos=0)
            up = events.until("message", direction="up")
            assert (up["topic"], up["text"]) == (f"dev/{other.device['id']}/to/{one.number}", "back")
        assert one.heard() == (f"me/from/{other.number}", b"back")
        one.write(server.api("GET", f"/api/v1/devices/{old.id}")["number"], b"to the old one").acknowledged()
        assert old.pushed()[1:] == (PUSH, b"to the old one")
        old.send(frame(2, UART, b"heard"))
        assert one.heard()[1] == b"heard"


def test_whom_an_app_lets_its_devices_write_to(server):
    apps = {peers: server.app(peers=peers) for peers in ("none", "app", "any")}
    apps["any too"] = server.app(peers="any")
    boards = {peers: Listening(server, server.device(app)) for peers, app in apps.items()}
    with Page(server) as page:
        for sender, board in boards.items():
            for receiver, other in boards.items():
                board.write(other.number, sender.encode()).acknowledged()
                allowed = sender != "none" and (sender == receiver or {sender, receiver} == {"any", "any too"})
                if allowed:
                    assert other.heard() == (f"me/from/{board.number}", sender.encode())
                else:
                    other.hears_nothing()
            board.write(page.number, sender.encode()).acknowledged()
        assert [page.heard()["text"], page.heard()["text"]] == ["any", "any too"]
        # The switch counts at once.
        server.api("PATCH", f"/api/v1/apps/{apps['app']['id']}", {"peers": "any"})
        boards["app"].write(boards["any"].number, b"now").acknowledged()
        assert boards["any"].heard()[1] == b"now"
        # Who may write to nobody may still answer.
        assert page.write(boards["none"].number, "?")["state"] == "sent"
        boards["none"].heard()
        boards["none"].write(page.number, b"!").acknowledged()
        assert page.heard()["text"] == "!"
    for board in boards.values():
        board.close()


def test_what_is_refused_and_said_so(server):
    device = server.device()
    number = server.api("GET", f"/api/v1/devices/{device['id']}")["number"]
    viewer = server.api("POST", "/api/v1/tokens", {"name": unique("eyes"), "role": "viewer"})["token"]
    with Page(server) as page, Page(server, token=viewer) as eyes:
        assert page.write(number, "x") == "unreachable"
        assert page.write(unique("nobody"), "x") == "no_such_device"
        assert page.write(2**31 - 1, "x") == "no_such_device"
        gone = eyes.number
        assert page.write(gone, "x")["state"] == "sent" and eyes.heard()["from"] == page.number
        assert eyes.write(page.number, "x") == "role_too_low"
        eyes.close()
        page.say({"ref": 9})
        assert page.outcome(9) == "bad_field"
        with Listening(server, device) as board:
            assert page.write(number, "x")["state"] == "sent" and board.heard()
            board.write(f"{page.number}/x", b"bad").expect_end()
        server.api("PATCH", f"/api/v1/devices/{device['id']}", {"blocked": True})
        assert page.write(number, "x") == "unreachable"
    refused = server.api("POST", "/api/v1/send", {"to": number, "text": "x"}, token=viewer, status=403)
    assert refused["code"] == "role_too_low"
    refused = server.api("POST", "/api/v1/send", {"to": number, "text": "x" * 70_000}, status=413)
    assert refused["code"] == "payload_too_large"


def test_a_kept_session_gets_what_came_while_it_was_away(fresh):
    server = fresh()
    device = server.device()
    with Listening(server, device, client="kept", clean=False) as board:
        number = board.number
    with Page(server) as page:
        sent = page.write(number, "while you were away")
        while sent["state"] == "sent":  # its line had not ended yet
            sent = page.write(number, "while you were away")
        assert sent["state"] == "kept"
    server.kill()
    server.start()
    with Client(server, device, client="kept", clean=False, greet=False) as board:
        board.expect("20 02 01 00")
        assert board.message()[1] == b"while you were away"


def test_a_program_sends_and_listens_and_so_does_the_command_line(server):
    with Listening(server, server.device()) as board:
        sent = server.api("POST", "/api/v1/send", {"to": board.number, "hex": "00 ff"})
        topic, payload = board.heard()
        assert (topic, payload, sent["from"] >= 1 << 31) == (f"me/from/{sent['from']}", b"\x00\xff", True)
        command = [str(PROGRAM), "send", board.device["id"], "hello", "--listen", "-n", "1", "--json"]
        reach = ["--server", f"http://127.0.0.1:{server.ports['http']}", "--token", TOKEN]
        with subprocess.Popen(command + reach, stdout=subprocess.PIPE, text=True, env=clean_environment()) as asking:
            topic, payload = board.heard()
            board.write(topic.rsplit("/", 1)[1], b"hello yourself").acknowledged()
            out, _ = asking.communicate(timeout=PATIENCE_S)
        lines = [json.loads(line) for line in out.splitlines()]
        assert asking.returncode == 0 and payload == b"hello"
        assert (lines[0]["state"], lines[1]["text"], lines[1]["device"]) == ("sent", "hello yourself", board.device["id"])
    told = server.cli("send", board.device["id"], "anybody?")
    assert told.returncode == 1 and "nobody is reached" in told.stderr, told.stderr
    app = server.cli("app", "add", "talkers", "--peers", "any")
    assert app.returncode == 0 and "peers    any" in app.stdout


