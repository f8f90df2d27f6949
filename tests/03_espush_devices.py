"""Firmware of 2015 to 2017 stays as it is: it registers, beats, uploads and is pushed to with the frames it was
compiled with. The bytes here are the worked examples of the protocol's description; only app id and key
are the test's own. H-numbers are the description's list of hazards."""

import itertools

import pytest

from harness import Line, hx
from mqtt_wire import Client

CHIP = itertools.count(0x81022F)
DEVICE_ID = hx("41 54 5f 44 45 56 5f 41 4e 4f 4e 59 4d 4f 55 53") + bytes(16)


def frame(msgid, kind, body=b""):
    return (10 + len(body)).to_bytes(4, "big") + msgid.to_bytes(4, "big") + kind.to_bytes(2, "big") + body


def registration(app, chip, tail=DEVICE_ID + b"\x01\x00\x00\x00"):
    return frame(1, 0, app["id"].to_bytes(4, "big") + app["key"].encode() + chip.to_bytes(4, "big") + tail)


class Board(Line):
    """A registered board on a line of its own."""

    def __init__(self, server, app=None, chip=None, **form):
        super().__init__(server.ports["espush"])
        self.app = app or server.app(open=True)
        self.chip = chip or next(CHIP)
        self.id = f"{self.app['id']}-{self.chip}"
        self.send(registration(self.app, self.chip, **form)).expect("00 00 00 0b 00 00 00 01 00 01 00")

    def pushed(self):
        """The next frame from the server: (msgid, type, body)."""
        head = self.read(10)
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:10], "big"), self.read(int.from_bytes(head[:4], "big") - 10)


def test_the_86_byte_registration(server):
    app = server.app(open=True)
    sent = registration(app, 8454703)
    assert len(sent) == 86 and sent.endswith(hx("00 81 02 2f") + DEVICE_ID + hx("01 00 00 00"))
    with server.line("espush") as board:
        board.send(sent).expect("00 00 00 0b 00 00 00 01 00 01 00")
        server.until_online(f"{app['id']}-8454703")
        device = server.api("GET", f"/api/v1/devices/{app['id']}-8454703")
        assert (device["online"], device["protocol"]) == (True, "espush")
        assert device["firmware"].startswith("AT")
    # H7: after the id's first NUL comes whatever lay beside it in memory.
    rubbish = DEVICE_ID[:17] + b"\xff\xfe\x07rubbish"
    with Board(server, app, 8454703, tail=rubbish.ljust(32, b"\xaa") + b"\x01\x00\x00\x00"):
        pass


def test_the_50_byte_registration(server):
    with Board(server, tail=b"") as board:
        board.send("00 00 00 0a 00 00 00 02 00 02")
        assert board.pushed()[:2] == (2, 3)


def test_a_wrong_key_is_refused_in_the_protocols_own_terms(server):
    app = server.app(open=True)
    with server.events() as events, server.line("espush") as board:
        board.send(registration({**app, "key": "0" * 32}, 1)).expect("00 00 00 0b 00 00 00 01 00 01 01").expect_end()
        events.until("knock", protocol="espush")
    knock = server.api("GET", "/api/v1/knocks")["items"][0]
    assert knock["protocol"] == "espush" and app["key"] not in str(knock)


def test_a_closed_app_ends_the_line_without_a_word(server):
    """H3: a device that is told "no" never comes back, and its owner may open the app in a minute."""
    app = server.app(open=False)
    with server.line("espush") as board:
        board.send(registration(app, 1)).expect_end()
    server.api("PATCH", f"/api/v1/apps/{app['id']}", {"open": True})
    with Board(server, app, 1):
        pass


def test_the_heartbeat_tells_the_time(server):
    with Board(server) as board:
        board.send("00 00 00 0a 00 00 00 02 00 02").expect("00 00 00 0e 00 00 00 02 00 03")
        assert int.from_bytes(board.read(4), "big") > 1_700_000_000


def test_an_upload_becomes_a_point_at_the_devices_own_time(server):
    with Board(server) as board, server.events(board.id) as events:
        board.send("00 00 00 17 00 00 00 03 00 06 00 00 57 6a 88 a4 77 64 2c 32 37 30 30")
        board.expect("00 00 00 0b 00 00 00 03 00 07 00")
        events.until("points", device=board.id)
        latest = server.api("GET", f"/api/v1/devices/{board.id}/latest")["items"]
        # The frame has seconds only; the msgid gives the milliseconds, so that two of one second are both kept.
        assert latest == [{"stream": "wd", "at": "2016-06-22T12:46:28.003Z", "value": 2700}]
        # H8: old firmware leaves the line's end on; H9: time 0 is no time.
        board.send(frame(4, 6, bytes(6) + b"wd,2701\r\n")).expect("00 00 00 0b 00 00 00 04 00 07 00")
        newest = server.api("GET", f"/api/v1/devices/{board.id}/latest")["items"][0]
        assert newest["value"] == 2701 and newest["at"] > "2020"


def test_a_push_is_the_worked_frame_and_its_answer_the_delivery(server):
    with Board(server) as board, server.events(board.id) as events:
        push = server.push(board.id, "HELLO")["push"]
        board.expect("00 00 00 0f 00 00 00 01 00 04 48 45 4c 4c 4f")
        events.until("delivery", push=push, state="sent")
        board.send("00 00 00 0b 00 00 00 01 00 05 00")
        events.until("delivery", push=push, state="delivered")


def test_a_board_without_a_callback_fails_the_push_with_a_sentence(server):
    with Board(server) as board, server.events(board.id) as events:
        push = server.push(board.id, "HELLO")["push"]
        msgid, kind, body = board.pushed()
        assert (kind, body) == (4, b"HELLO")
        board.send(frame(msgid, 5, b"\x01"))
        assert "callback" in events.until("delivery", push=push, state="failed")["detail"]


@pytest.mark.parametrize(
    "verb, payload, kind, body, answer, said",
    [
        ("at", "AT+GPIO_LOW=12", 0x14, b"AT+GPIO_LOW=12\r\n", b"\x00", ""),
        ("reboot", "", 0x12, b"", b"\x00", ""),
        ("probe", "", 0x18, b"", b"", ""),
        ("status", "KEY", 0x1C, b"KEY", b"\x002700===4500", "2700===4500"),
        ("gpio.write", '{"pin":12,"level":1}', 0x1E, b"\x0c\x01", b"\x00", ""),
        ("gpio.read", "", 0x20, b"", bytes([1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]), '{"0":1,"1":0,"2":1'),
    ],
)
def test_commands_are_their_frames(server, verb, payload, kind, body, answer, said):
    app = server.app(open=True, settings={"espush.accepts": "gpio"})
    with Board(server, app) as board, server.events(board.id) as events:
        push = server.push(board.id, payload, command=verb)["push"]
        msgid, got, sent = board.pushed()
        assert (got, sent) == (kind, body)
        board.send(frame(msgid, kind + 1, answer))
        delivery = events.until("delivery", push=push, state="applied")
        assert (delivery.get("answer") or {}).get("text", "").startswith(said)


def test_what_old_firmware_may_not_know_is_refused_and_the_line_lives(server):
    """H1: a type that is not in its table makes the device disconnect."""
    with Board(server, tail=b"") as board:
        delivery = server.push(board.id, "", wait_ms=5000, command="gpio.read")
        assert delivery["state"] == "refused" and "espush.accepts" in delivery["detail"]
        board.send("00 00 00 0a 00 00 00 02 00 02")
        assert board.pushed()[:2] == (2, 3), "nothing but the heartbeat's answer"


def test_a_serial_stream_is_never_answered(server):
    """H2: 23 is in no device's table."""
    with Board(server) as board:
        board.send(frame(9, 0x22, b"from the serial line"))
        board.send("00 00 00 0a 00 00 00 0a 00 02")
        assert board.pushed()[:2] == (10, 3)


def test_frames_may_come_in_any_pieces(server):
    app, chip = server.app(open=True), next(CHIP)
    with server.line("espush") as board:
        for byte in registration(app, chip):
            board.send(bytes([byte]))
        board.expect("00 00 00 0b 00 00 00 01 00 01 00")
        board.send(frame(2, 2) + frame(3, 6, bytes(6) + b"a,1") + frame(4, 2)[:7]).send(frame(4, 2)[7:])
        board.expect("00 00 00 0e 00 00 00 02 00 03").read(4)
        # The upload is answered when it is kept, the heartbeat at once: either may be first.
        rest = board.read(11 + 14)
        assert frame(3, 7, b"\x00") in rest and hx("00 00 00 0e 00 00 00 04 00 03") in rest


def test_text_is_gbk_where_the_app_says_so(server):
    app = server.app(open=True, settings={"espush.text": "gbk"})
    with Board(server, app) as board:
        board.send(frame(2, 6, bytes(6) + "温度,21".encode("gbk"))).expect(frame(2, 7, b"\x00"))
        assert server.api("GET", f"/api/v1/devices/{board.id}/latest")["items"][0]["stream"] == "温度"
        server.push(board.id, "开灯")
        assert board.pushed()[2] == "开灯".encode("gbk")


def test_a_device_that_knows_no_app_is_given_one(server):
    app = server.app(single=True)
    chip = next(CHIP)
    single = frame(1, 0x24, chip.to_bytes(4, "big") + b"0123456789abcdef" * 2 + b"\x01\xaa\xbb\xcc")
    assert len(single) == 50
    with server.line("espush") as board:
        board.send(single).expect(frame(1, 0x25, b"\x00\x00" + app["id"].to_bytes(4, "big") + app["key"].encode()))
        server.until_online(f"{app['id']}-{chip}")


def test_an_order_that_was_not_answered_is_kept_for_the_next_line(server):
    app, chip = server.app(open=True), next(CHIP)
    board = Board(server, app, chip)
    with server.events(board.id) as events:
        push = server.push(board.id, "HELLO")["push"]
        board.pushed()
        board.close()
        events.until("presence", online=False)
        assert server.delivery(push)["state"] in ("queued", "sent")
        with Board(server, app, chip) as again:
            msgid, kind, body = again.pushed()
            assert (kind, body) == (4, b"HELLO")
            again.send(frame(msgid, 5, b"\x00"))
            events.until("delivery", push=push, state="delivered")


def test_two_protocols_speak_to_one_another_through_the_server(server):
    """A phone on MQTT hears what the old board uploads, once its owner's program passes it on."""
    token = server.api("POST", "/api/v1/tokens", {"name": "bridge", "role": "operator"})["token"]
    with Board(server) as board, Client(server, client="program", user="token", password=token) as program:
        program.subscribe((f"dev/{board.id}/data", 0))
        board.send(frame(2, 6, bytes(2) + hx("57 6a 88 a4") + b"wd,2700")).expect(frame(2, 7, b"\x00"))
        topic, payload, *_ = program.message()
        assert topic == f"dev/{board.id}/data" and b'"wd":2700' in payload.replace(b" ", b"")
