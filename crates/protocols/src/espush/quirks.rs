//! Every tolerance for real ES-PUSH devices, each with its source. (S) is read in published source or
//! documentation, (B) in the published client libraries; nothing here was captured from a live device.

use std::borrow::Cow;

use encoding_rs::GBK;
use model::UnixMs;
use model::limits::POINT_AHEAD_S_MAX;

/// What a device's firmware surely has in its table of types. A device that receives a type outside its
/// table disconnects at once (H1) (B), so a server must know before it asks.
///
/// The steps are ordered because the library grew in this order and never dropped one of them again
/// (B: handler tables of the builds from 2015-05-30 to 2016-08). So whoever knows a later one knows all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// 04: every build.
    #[default]
    Push,
    /// 12, 14, 16, 18: with the 86-byte registration, June 2015.
    Remote,
    /// 1C: August 2015.
    Status,
    /// 1E, 20: September 2015.
    Gpio,
    /// 26: March 2016.
    Custom,
}

impl Reach {
    /// The step of a word in the setting `espush.accepts`.
    pub fn of_word(word: &str) -> Option<Reach> {
        match word.trim() {
            "remote" => Some(Reach::Remote),
            "status" => Some(Reach::Status),
            "gpio" => Some(Reach::Gpio),
            "custom" => Some(Reach::Custom),
            _ => None,
        }
    }

    /// The word for the step in the setting `espush.accepts`.
    pub fn word(self) -> &'static str {
        match self {
            Reach::Push => "push",
            Reach::Remote => "remote",
            Reach::Status => "status",
            Reach::Gpio => "gpio",
            Reach::Custom => "custom",
        }
    }
}

/// Orders on their way to a device at once. Firmware hands a push to its program from a one-shot 1 ms
/// timer (B); a second frame in the same segment could take the place of the first. So one at a time.
pub const INFLIGHT: u16 = 1;

/// The device id in a registration is 32 bytes copied blindly: what follows the first NUL is whatever lay
/// beside it in memory (H7) (S: the REST documentation shows such bytes). Bytes that are no text are dropped.
pub fn device_id_text(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).chars().filter(|c| *c != char::REPLACEMENT_CHARACTER && !c.is_control()).collect()
}

/// When a sample was taken, if the device knew. 0 means that its clock was never set (H9) (S). A clock that
/// shows a day before the protocol existed, or later than tomorrow, is no clock either.
///
/// The clock has whole seconds and is set by our 03 at most every few minutes, so near the present ours is
/// the better one: a sample from now gets our milliseconds, and one without a clock never seems newer than the next.
///
/// An older sample comes from the device's offline queue. Two of one second must not have the same time,
/// else the second would take the place of the first, which was acknowledged: the msgid, which the device
/// counts up, gives the milliseconds that its clock lacks.
pub fn sample_time(device_s: u32, msgid: u32, now: UnixMs) -> Option<UnixMs> {
    const BORN_MS: i64 = 1_430_438_400_000; // 2015-05-01
    const CLOCK_ERROR_MS: u64 = 3_000;
    let at = i64::from(device_s) * 1000;
    if !(BORN_MS..=now.0.saturating_add(POINT_AHEAD_S_MAX as i64 * 1000)).contains(&at) {
        return None;
    }
    Some(if at.abs_diff(now.0) < CLOCK_ERROR_MS { now } else { UnixMs(at + i64::from(msgid % 1000)) })
}

/// Text from the device. The original service spoke GBK on the wire (S); we do so where the app says so.
/// Bytes that are no text become U+FFFD, never an error: the line must survive a broken sensor string.
pub fn text_in(bytes: &[u8], gbk: bool) -> Cow<'_, str> {
    if gbk { GBK.decode_without_bom_handling(bytes).0 } else { String::from_utf8_lossy(bytes) }
}

/// Text for the device. Bytes that are no UTF-8 are not text and pass as they are. `None` when a GBK
/// device cannot be given a character.
pub fn text_out(bytes: &[u8], gbk: bool) -> Option<Cow<'_, [u8]>> {
    match std::str::from_utf8(bytes) {
        Ok(text) if gbk => {
            let (encoded, _, unmappable) = GBK.encode(text);
            (!unmappable).then_some(encoded)
        }
        _ => Some(Cow::Borrowed(bytes)),
    }
}

/// Old AT firmware and AT_PLUS leave the line's CR LF on an upload (H8) (S: fixed only in the 2017 source).
/// The stock server trimmed all white space on both ends (S).
pub fn upload_text<'a>(data: &'a [u8], gbk: bool) -> Cow<'a, str> {
    text_in(data.trim_ascii(), gbk)
}

/// The pins of a GPIO answer, in the order of its twelve bytes (S).
pub const PINS: [u8; 12] = [0, 1, 2, 3, 4, 5, 9, 10, 12, 13, 14, 15];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h7_the_device_id_ends_at_the_first_nul() {
        assert_eq!(device_id_text(b"AT_DEV_ANONYMOUS\0\x7f\xff\xfelp"), "AT_DEV_ANONYMOUS");
        assert_eq!(device_id_text(b"la\xffmp\x01"), "lamp");
        assert_eq!(device_id_text(b"\0\0"), "");
    }

    #[test]
    fn h9_a_clock_that_was_never_set_is_no_clock() {
        let now = UnixMs(1_466_599_600_000);
        assert_eq!(sample_time(0, 0, now), None);
        assert_eq!(sample_time(0x576a_88a4, 0, now), Some(UnixMs(1_466_599_588_000)));
        assert_eq!(sample_time(77, 0, now), None, "seconds since power-on");
        assert_eq!(sample_time(u32::MAX, 0, now), None);
        assert_eq!(sample_time(1, 0, UnixMs(i64::MAX)), None);
    }

    #[test]
    fn a_sample_from_now_has_our_milliseconds() {
        let device_s = 0x576a_88a4;
        for ms in [-2_999, 0, 1, 999, 2_999] {
            let now = UnixMs(1_466_599_588_000 + ms);
            assert_eq!(sample_time(device_s, 7, now), Some(now));
        }
        for ms in [-3_000, 3_000, 60_000] {
            assert_eq!(sample_time(device_s, 0, UnixMs(1_466_599_588_000 + ms)), Some(UnixMs(1_466_599_588_000)));
        }
    }

    #[test]
    fn samples_of_one_second_from_the_offline_queue_have_times_of_their_own() {
        let now = UnixMs(1_466_599_688_000);
        let at = |msgid| sample_time(0x576a_88a4, msgid, now).map(|at| at.0 - 1_466_599_588_000);
        assert_eq!([at(998), at(999), at(1_003), at(u32::MAX)], [Some(998), Some(999), Some(3), Some(295)]);
    }

    #[test]
    fn gbk_goes_both_ways_and_says_when_it_cannot() {
        assert_eq!(text_in(b"\xce\xc2\xb6\xc8", true), "温度");
        assert_eq!(text_in(b"\xce\xc2", false), "\u{fffd}\u{fffd}");
        assert_eq!(text_out("温度".as_bytes(), true).as_deref(), Some(&b"\xce\xc2\xb6\xc8"[..]));
        assert_eq!(text_out("温度".as_bytes(), false).as_deref(), Some("温度".as_bytes()));
        assert_eq!(text_out("灯🔆".as_bytes(), true), None);
        assert_eq!(text_out(b"\xff\x00", true).as_deref(), Some(&b"\xff\x00"[..]));
    }
}
