//! 02 → 03: the device tells that it is there and is told the time, which it adopts as its own clock.
//! Any byte keeps the line alive; the heartbeat has no other effect.

use contract::Context;
use model::UnixMs;

use super::codec::{Frame, encode, kind};

/// The body of an answer at `now`: Unix seconds, as far as 32 bits reach.
fn time(now: UnixMs) -> [u8; 4] {
    u32::try_from(now.0.div_euclid(1000)).unwrap_or(0).to_be_bytes()
}

/// Answers a heartbeat.
pub(super) fn answer(cx: &mut Context<'_>, frame: &Frame<'_>) {
    encode(cx.out, frame.msgid, kind::answer_to(kind::HEARTBEAT), &time(cx.unix));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_unix_seconds() {
        assert_eq!(time(UnixMs(1_466_599_588_999)), [0x57, 0x6a, 0x88, 0xa4]);
        assert_eq!(time(UnixMs(-1)), [0; 4], "0 tells the device that we do not know");
        assert_eq!(time(UnixMs(i64::MAX)), [0; 4]);
    }
}
