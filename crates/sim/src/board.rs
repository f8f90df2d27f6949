//! The virtual board itself: orders and time in, answers and readings out. It knows no protocol, no
//! socket and no clock; with the same seed it does the same, however fast a test lets its time pass.

use protocols::espush::quirks::PINS;
use serde_json::{Value, json};

/// The pin that the LED is on, as on most ESP8266 boards. Here a high level lights it.
pub const LED_PIN: u8 = 2;

/// One ESP8266 with an LED, a button and an ADC that drifts.
#[derive(Clone, Debug)]
pub struct Board {
    /// Levels of GPIO 0 to 15; the LED is one of them.
    pins: [bool; 16],
    adc: u16,
    dice: u64,
    uptime_ms: u64,
    firmware: &'static str,
}

/// What somebody asks of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// A push: `on`, `off`, `toggle`, `press`, `status` or `{"led":true}`.
    Text(&'a [u8]),
    /// A command of the firmware.
    Command {
        /// `reboot`, `at`, `probe`, `status`, `gpio.write`, `gpio.read`; others fail with a sentence.
        verb: &'a str,
        /// What belongs to it.
        payload: &'a [u8],
    },
}

/// What the board says to an order, and what else came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer, or a sentence why not.
    /// The answer, or a sentence why there is none.
    pub answer: Result<String, Failure>,
    /// The LED is not as it was: tell the server.
    pub led_changed: bool,
    /// The button was pressed: tell the server.
    pub pressed: bool,
    /// The board restarts: answer first, then drop the line and call [`Board::restart`].
    pub reboots: bool,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The board does not know the order at all.
    #[error("error: unknown order; this board knows on, off, toggle, press, status and {{\"led\":true}}")]
    UnknownOrder,
    /// The firmware lacks the command.
    #[error("error: this firmware does not know {0}")]
    UnknownCommand(String),
    /// The command is known, what came with it is not usable.
    #[error("error: {0}")]
    BadArgument(&'static str),
}

impl Board {
    /// A board fresh from power-on; `seed` decides where its ADC starts and how it drifts.
    pub fn new(seed: u64) -> Board {
        // Odd and mixed, so that neighbouring seeds begin far apart.
        let dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut board = Board { pins: [false; 16], adc: 512, dice, uptime_ms: 0, firmware: "sim 1.0" };
        board.adc = 400 + (board.roll() % 225) as u16;
        board
    }

    /// Whether the LED is lit.
    pub fn led(&self) -> bool {
        self.pins[usize::from(LED_PIN)]
    }

    /// What the ADC read last, 0 to 1023.
    pub fn adc(&self) -> u16 {
        self.adc
    }

    /// Milliseconds since power-on or restart.
    pub fn uptime_ms(&self) -> u64 {
        self.uptime_ms
    }

    /// What the board says of its firmware.
    pub fn firmware(&self) -> &'static str {
        self.firmware
    }

    /// The levels of the pins that ES-PUSH shows, 0 or 1, in its order.
    pub fn pins(&self) -> [u8; PINS.len()] {
        PINS.map(|pin| u8::from(self.pins[usize::from(pin & 15)]))
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.uptime_ms += ms;
    }

    /// Reads the ADC, which has drifted a little since the last time.
    pub fn sample(&mut self) -> u16 {
        let drift = (self.roll() % 15) as i32 - 7;
        // The walls push back, so that the value wanders instead of sticking to an end.
        self.adc = (i32::from(self.adc) + drift).clamp(16, 1007) as u16;
        self.adc
    }

    /// Power off and on: the LED is dark, the uptime starts again.
    pub fn restart(&mut self) {
        self.pins = [false; 16];
        self.uptime_ms = 0;
    }

    /// Does what is asked.
    pub fn order(&mut self, order: Order<'_>) -> Reply {
        let led = self.led();
        let mut reply = match order {
            Order::Text(text) => self.text(text),
            Order::Command { verb, payload } => self.command(verb, payload),
        };
        reply.led_changed = self.led() != led;
        reply
    }

    fn text(&mut self, text: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(text);
        match text.trim().to_ascii_lowercase().as_str() {
            "on" => self.light(true),
            "off" => self.light(false),
            "toggle" => self.light(!self.led()),
            "press" => Reply { pressed: true, ..said("pressed") },
            "status" | "?" => said(format!("led={} adc={}", self.led_word(), self.adc)),
            json => match serde_json::from_str::<Value>(json).ok().as_ref().and_then(|json| json.get("led")).and_then(level) {
                Some(on) => self.light(on),
                None => failed(Failure::UnknownOrder),
            },
        }
    }

    fn command(&mut self, verb: &str, payload: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(payload);
        let text = text.trim();
        match verb {
            "probe" => said(""),
            "reboot" => Reply { reboots: true, ..said("restarting") },
            "gpio.read" => said(pins_json(&self.pins())),
            "gpio.write" => match pin_and_level(text) {
                Some((pin, on)) => self.write_pin(pin, on),
                None => failed(Failure::BadArgument("give the pin and its level as {\"pin\":2,\"level\":1} or as 2 1")),
            },
            "status" => match text {
                "led" => said(self.led_word()),
                "adc" => said(self.adc.to_string()),
                "uptime" => said((self.uptime_ms / 1000).to_string()),
                _ => failed(Failure::BadArgument("unknown key; this board knows led, adc and uptime")),
            },
            "at" => self.at(text),
            other => failed(Failure::UnknownCommand(other.to_owned())),
        }
    }

    /// The AT commands of the ES-PUSH firmware that make sense on this board.
    fn at(&mut self, line: &str) -> Reply {
        let line = line.to_ascii_uppercase();
        // The published firmware binds these two crosswise: HIGH drives 0, LOW drives 1.
        let drives = [("AT+GPIO_HIGH=", false), ("AT+GPIO_LOW=", true)];
        for (command, on) in drives {
            if let Some(pin) = line.strip_prefix(command) {
                return match pin.parse() {
                    Ok(pin) => Reply { answer: self.write_pin(pin, on).answer.map(|_| "OK".to_owned()), ..said("") },
                    Err(_) => failed(Failure::BadArgument("no such pin")),
                };
            }
        }
        match line.as_str() {
            "AT" => said("OK"),
            "AT+GMR" => said(self.firmware),
            "AT+ADCU?" => said(self.adc.to_string()),
            "AT+GPIO?" => said(self.pins().map(|level| if level == 1 { '1' } else { '0' }).iter().collect::<String>()),
            _ => failed(Failure::BadArgument("unknown AT command")),
        }
    }

    fn write_pin(&mut self, pin: u8, on: bool) -> Reply {
        if !PINS.contains(&pin) {
            return failed(Failure::BadArgument("no such pin"));
        }
        self.pins[usize::from(pin & 15)] = on;
        said("")
    }

    fn light(&mut self, on: bool) -> Reply {
        self.pins[usize::from(LED_PIN)] = on;
        said(self.led_word())
    }

    fn led_word(&self) -> &'static str {
        if self.led() { "on" } else { "off" }
    }

    /// xorshift64*: enough for a drift, the same on every machine.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

fn said(text: impl Into<String>) -> Reply {
    Reply { answer: Ok(text.into()), led_changed: false, pressed: false, reboots: false }
}

fn failed(why: Failure) -> Reply {
    Reply { answer: Err(why), ..said("") }
}

/// `true`, `1`, `"on"` and their opposites.
fn level(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Number(number) => number.as_u64().filter(|n| *n <= 1).map(|n| n == 1),
        Value::String(word) if word == "on" => Some(true),
        Value::String(word) if word == "off" => Some(false),
        _ => None,
    }
}

fn pin_and_level(text: &str) -> Option<(u8, bool)> {
    if let Ok(object @ Value::Object(_)) = serde_json::from_str::<Value>(text) {
        return Some((u8::try_from(object["pin"].as_u64()?).ok()?, level(&object["level"])?));
    }
    let (pin, on) = text.split_once([' ', ',', '='])?;
    Some((pin.trim().parse().ok()?, level(&json!(on.trim().parse::<u64>().ok()?))?))
}

fn pins_json(levels: &[u8; PINS.len()]) -> String {
    let pairs: Vec<String> = PINS.iter().zip(levels).map(|(pin, level)| format!("\"{pin}\":{level}")).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(board: &mut Board, text: &str) -> String {
        match board.order(Order::Text(text.as_bytes())).answer {
            Ok(answer) => answer,
            Err(why) => why.to_string(),
        }
    }

    fn command(board: &mut Board, verb: &str, payload: &str) -> String {
        match board.order(Order::Command { verb, payload: payload.as_bytes() }).answer {
            Ok(answer) => answer,
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn words_and_json_set_the_led() {
        let mut board = Board::new(1);
        for (order, answer) in [
            ("on", "on"),
            (" ON\r\n", "on"),
            ("toggle", "off"),
            ("toggle", "on"),
            ("off", "off"),
            (r#"{"led":true}"#, "on"),
            (r#"{"led":0}"#, "off"),
            (r#"{"led":"on"}"#, "on"),
        ] {
            assert_eq!(say(&mut board, order), answer, "{order}");
            assert_eq!(board.led(), answer == "on");
        }
    }

    #[test]
    fn a_change_of_the_led_is_told_once() {
        let mut board = Board::new(1);
        assert!(board.order(Order::Text(b"on")).led_changed);
        assert!(!board.order(Order::Text(b"on")).led_changed);
        assert!(board.order(Order::Command { verb: "gpio.write", payload: b"2 0" }).led_changed);
        assert!(!board.order(Order::Command { verb: "gpio.write", payload: b"4 1" }).led_changed);
        assert!(board.order(Order::Command { verb: "at", payload: b"AT+GPIO_LOW=2\r\n" }).led_changed);
        assert!(board.led(), "LOW lights it, as on the real firmware");
    }

    #[test]
    fn it_tells_how_it_is() {
        let mut board = Board::new(1);
        let adc = board.adc();
        assert_eq!(say(&mut board, "status"), format!("led=off adc={adc}"));
        assert_eq!(say(&mut board, "?"), format!("led=off adc={adc}"));
        board.pass(61_500);
        assert_eq!(command(&mut board, "status", "uptime"), "61");
        assert_eq!(command(&mut board, "status", "adc"), adc.to_string());
        assert_eq!(command(&mut board, "status", "led"), "off");
        assert_eq!(command(&mut board, "at", "AT+ADCU?"), adc.to_string());
        assert_eq!(command(&mut board, "at", "AT+GPIO?"), "000000000000");
        assert_eq!(command(&mut board, "probe", ""), "");
    }

    #[test]
    fn pins_are_written_and_read() {
        let mut board = Board::new(1);
        assert_eq!(command(&mut board, "gpio.write", r#"{"pin":12,"level":true}"#), "");
        assert_eq!(command(&mut board, "gpio.write", "2 1"), "");
        assert!(board.led());
        let levels: Value = serde_json::from_str(&command(&mut board, "gpio.read", "")).unwrap();
        assert_eq!((&levels["12"], &levels["2"], &levels["0"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!(board.pins(), [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        for bad in ["", "2", "6 1", "99 1", "2 5", r#"{"pin":300,"level":1}"#, r#"{"level":1}"#] {
            assert!(command(&mut board, "gpio.write", bad).starts_with("error: "), "{bad}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_an_error_in_plain_words() {
        let mut board = Board::new(1);
        assert!(say(&mut board, "open sesame").starts_with("error: unknown order"));
        assert!(say(&mut board, "\u{fffd}").starts_with("error: "));
        assert!(say(&mut board, r#"{"lamp":true}"#).starts_with("error: "));
        assert!(command(&mut board, "lua", "print(1)").contains("lua"));
        assert!(command(&mut board, "status", "mood").starts_with("error: unknown key"));
        assert!(command(&mut board, "at", "AT+NONSENSE").starts_with("error: "));
        assert!(command(&mut board, "at", "AT+GPIO_HIGH=77").starts_with("error: "));
    }

    #[test]
    fn a_restart_forgets_everything_but_the_seed() {
        let mut board = Board::new(1);
        board.order(Order::Text(b"on"));
        board.pass(5_000);
        let reply = board.order(Order::Command { verb: "reboot", payload: b"" });
        assert!(reply.reboots && reply.answer.is_ok());
        board.restart();
        assert_eq!((board.led(), board.uptime_ms()), (false, 0));
    }

    #[test]
    fn the_adc_drifts_within_its_range_and_the_same_for_the_same_seed() {
        let run = |seed| {
            let mut board = Board::new(seed);
            (0..5_000).map(|_| board.sample()).collect::<Vec<_>>()
        };
        let values = run(7);
        assert_eq!(values, run(7));
        assert_ne!(values, run(8));
        assert!(values.iter().all(|value| *value < 1024));
        assert!(values.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 7));
        assert!(values.iter().min() != values.iter().max());
    }
}
