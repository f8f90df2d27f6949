//! ES-PUSH classic (P1, 2015 to 2017) on port 10081: what AT, AT_PLUS, SDK and NodeMCU firmware speak.
//! Uploads become points on `me/data`, pushes and commands become the frames that the firmware knows.
//! Deliberately absent: firmware upgrade frames (0A, 0C, 0E), server switch (28), forced unregister (30),
//! and the 2018 dialect, which has another port. README.md tells how to try it by hand.

mod answers;
pub mod codec;
#[doc(hidden)]
pub mod fuzz;
mod heartbeat;
mod orders;
pub mod quirks;
pub mod register;
mod session;
pub mod upload;

use contract::Protocol;
use model::app::ProtocolSettings;

use quirks::Reach;

pub use session::Machine;

/// The registration line.
pub const PROTOCOL: Protocol = Protocol {
    name: "espush",
    listen_default: "0.0.0.0:10081",
    push_bytes_max: codec::BODY_BYTES_MAX,
    // No frame is for it, and a device drops the line at one that it does not know (H1).
    twins: false,
    open: |peer| Box::new(Machine::new(peer)),
};

/// What an app may set for its ES-PUSH devices. Words that we do not know are as if they were not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `espush.text` = `gbk`: the firmware's text is GBK, as it was on the original service. Else UTF-8.
    pub gbk: bool,
    /// `espush.accepts`: a comma list of `remote`, `status`, `gpio`, `custom`. The newest one counts, because
    /// every build that knows it also knows the older ones (see [`Reach`]).
    pub accepts: Reach,
}

impl Settings {
    /// Reads them from the app's settings.
    pub fn read(settings: &ProtocolSettings) -> Settings {
        let value = |name: &str| settings.get(name).map_or("", String::as_str);
        Settings {
            gbk: value("espush.text").trim().eq_ignore_ascii_case("gbk"),
            accepts: value("espush.accepts").split(',').filter_map(Reach::of_word).max().unwrap_or(Reach::Push),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_foreign_words_are_ignored() {
        let of = |pairs: &[(&str, &str)]| {
            Settings::read(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(of(&[]), Settings { gbk: false, accepts: Reach::Push });
        assert_eq!(of(&[("espush.text", "GBK"), ("mqtt.text", "x")]), Settings { gbk: true, accepts: Reach::Push });
        assert_eq!(of(&[("espush.accepts", "status, gpio")]), Settings { gbk: false, accepts: Reach::Gpio });
        assert_eq!(of(&[("espush.accepts", "ota")]), Settings { gbk: false, accepts: Reach::Push });
    }
}
