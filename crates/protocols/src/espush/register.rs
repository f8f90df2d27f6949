//! 00 → 01 and 24 → 25: who the device is. The bodies in both directions, what they prove about the
//! firmware, and which refusals may be told. A device that is told "no" never comes back (H3), so that
//! word is kept for credentials that are wrong; every other trouble just ends the line.

use contract::kit::{Cursor, Short};
use contract::{Login, Refusal};

use super::codec::HEADER_BYTES;
use super::quirks::{Reach, device_id_text};

/// Length of the registration of the first weeks and of the single-device one, header included.
pub const SHORT_BYTES: usize = 50;
/// Length of the registration since 2015-06-18, header included.
pub const LONG_BYTES: usize = 86;

/// The firmware family of a registration.
pub mod firmware {
    /// The AT command firmware.
    pub const AT: u8 = 1;
    /// NodeMCU.
    pub const NODEMCU: u8 = 2;
    /// A program on the SDK.
    pub const SDK: u8 = 3;
    /// The AT firmware of the AT_PLUS board (2016).
    pub const AT_PLUS: u8 = 5;
}

/// What a device tells besides its credentials, in the 86-byte form. Most leave the last three at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The device id that its owner gave it; not its identity.
    pub device_id: String,
    /// See [`firmware`]; 0 is unknown.
    pub firmware: u8,
    /// Flash map plus one; 0 is unknown.
    pub flash_map: u8,
    /// Whether a second-stage boot loader is in use; 0 is unknown.
    pub boot: u8,
    /// Running slot: 1 user1, 2 user2, 0 unknown.
    pub slot: u8,
}

/// Registration with app id and key.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// The app.
    pub app: u32,
    /// 32 characters of the app key, as they came.
    pub key: [u8; 32],
    /// The chip id.
    pub chip: u32,
    /// `None` in the 50-byte form.
    pub details: Option<Details>,
}

impl Registration {
    /// Reads the body of a 00.
    pub fn read(body: &[u8]) -> Result<Registration, Short> {
        let mut fields = Cursor::new(body);
        let (app, key, chip) = (fields.u32()?, fields.array()?, fields.u32()?);
        if fields.is_empty() {
            return Ok(Registration { app, key, chip, details: None });
        }
        let device_id = device_id_text(fields.take(32)?);
        let [firmware, flash_map, boot, slot] = fields.array()?;
        if !fields.is_empty() {
            return Err(Short);
        }
        Ok(Registration { app, key, chip, details: Some(Details { device_id, firmware, flash_map, boot, slot }) })
    }

    /// The body of a 00.
    pub fn write(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(LONG_BYTES - HEADER_BYTES);
        body.extend_from_slice(&self.app.to_be_bytes());
        body.extend_from_slice(&self.key);
        body.extend_from_slice(&self.chip.to_be_bytes());
        if let Some(details) = &self.details {
            let mut device_id = [0; 32];
            device_id.iter_mut().zip(details.device_id.bytes()).for_each(|(to, from)| *to = from);
            body.extend_from_slice(&device_id);
            body.extend_from_slice(&[details.firmware, details.flash_map, details.boot, details.slot]);
        }
        body
    }

    /// What the gate is asked.
    pub fn login(&self) -> Login {
        let key = String::from_utf8_lossy(&self.key).into_owned();
        Login::AppKey { app: self.app, key, chip: self.chip.to_string() }
    }

    /// What the form and the firmware family prove (H1).
    pub fn reach(&self) -> Reach {
        match &self.details {
            None => Reach::Push,
            Some(Details { firmware: firmware::AT_PLUS, .. }) => Reach::Custom,
            Some(_) => Reach::Remote,
        }
    }

    /// The firmware as people read it; `None` when the device did not tell.
    pub fn firmware(&self) -> Option<String> {
        self.details.as_ref().and_then(|details| firmware_text(details.firmware, details.slot))
    }
}

/// Registration without an app: the server chooses one and tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleRegistration {
    /// The chip id.
    pub chip: u32,
    /// 32 hex characters made up by the device. Nothing depends on them.
    pub random: [u8; 32],
    /// See [`firmware`].
    pub firmware: u8,
}

impl SingleRegistration {
    /// The only builds that send 24 are those since 2015-10-20: they know the GPIO frames (H1).
    pub const REACH: Reach = Reach::Gpio;

    /// Reads the body of a 24. The three bytes after the firmware family are undefined (H7).
    pub fn read(body: &[u8]) -> Result<SingleRegistration, Short> {
        let mut fields = Cursor::new(body);
        let read = SingleRegistration { chip: fields.u32()?, random: fields.array()?, firmware: fields.u8()? };
        fields.take(3)?;
        if fields.is_empty() { Ok(read) } else { Err(Short) }
    }

    /// The body of a 24.
    pub fn write(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(SHORT_BYTES - HEADER_BYTES);
        body.extend_from_slice(&self.chip.to_be_bytes());
        body.extend_from_slice(&self.random);
        body.extend_from_slice(&[self.firmware, 0, 0, 0]);
        body
    }

    /// What the gate is asked.
    pub fn login(&self) -> Login {
        Login::Single { chip: self.chip.to_string() }
    }

    /// The firmware as people read it.
    pub fn firmware(&self) -> Option<String> {
        firmware_text(self.firmware, 0)
    }
}

/// The body of a 25: the app that a single device is to use from now on.
pub fn write_enrolled(app: u32, key: &str) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend_from_slice(&app.to_be_bytes());
    body.extend_from_slice(key.as_bytes());
    body
}

fn firmware_text(family: u8, slot: u8) -> Option<String> {
    let family = match family {
        firmware::AT => "AT",
        firmware::NODEMCU => "NodeMCU",
        firmware::SDK => "SDK",
        firmware::AT_PLUS => "AT_PLUS",
        4 => "other",
        _ => return None,
    };
    Some(match slot {
        1 => format!("{family} user1"),
        2 => format!("{family} user2"),
        _ => family.to_owned(),
    })
}

/// Whether a refusal means that the credentials are wrong, so that status 1 may be sent (H3). A closed app
/// is not that: its owner may open it in a minute, and the device, which tries every second, is then in.
pub(super) fn is_wrong_credentials(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::BadAppKey | Refusal::BadCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Registration {
        let details = Details { device_id: "AT_DEV_ANONYMOUS".into(), firmware: firmware::AT, ..Details::default() };
        Registration { app: 1234, key: *b"25b28f0ffb9711e4a96d446d579b49a1", chip: 8_454_703, details: Some(details) }
    }

    #[test]
    fn both_forms_survive_the_way_out_and_back() {
        let long = at();
        assert_eq!(long.write().len() + HEADER_BYTES, LONG_BYTES);
        assert!(Registration::read(&long.write()) == Ok(long.clone()));
        let short = Registration { details: None, ..long };
        assert_eq!(short.write().len() + HEADER_BYTES, SHORT_BYTES);
        assert!(Registration::read(&short.write()) == Ok(short));
        let single = SingleRegistration { chip: 0x81_022f, random: [b'7'; 32], firmware: firmware::AT };
        assert_eq!(single.write().len() + HEADER_BYTES, SHORT_BYTES);
        assert_eq!(SingleRegistration::read(&single.write()), Ok(single));
    }

    #[test]
    fn other_lengths_are_no_registration() {
        let body = at().write();
        for length in (0..body.len()).filter(|length| *length != SHORT_BYTES - HEADER_BYTES) {
            assert!(Registration::read(&body[..length]).is_err(), "{length}");
        }
        assert!(Registration::read(&[body, vec![0]].concat()).is_err());
    }

    #[test]
    fn h1_the_form_and_the_family_tell_what_may_be_sent() {
        let mut registration = at();
        assert_eq!((registration.reach(), registration.firmware().as_deref()), (Reach::Remote, Some("AT")));
        registration.details = Some(Details { firmware: firmware::AT_PLUS, slot: 2, ..Details::default() });
        assert_eq!((registration.reach(), registration.firmware().as_deref()), (Reach::Custom, Some("AT_PLUS user2")));
        registration.details = Some(Details { firmware: firmware::NODEMCU, slot: 1, ..Details::default() });
        assert_eq!((registration.reach(), registration.firmware().as_deref()), (Reach::Remote, Some("NodeMCU user1")));
        registration.details = None;
        assert_eq!((registration.reach(), registration.firmware()), (Reach::Push, None));
    }

    #[test]
    fn h3_only_wrong_credentials_are_told() {
        use Refusal::*;
        for refusal in [BadAppKey, BadCredentials] {
            assert!(is_wrong_credentials(refusal));
        }
        let ours =
            [NoCredentials, AppClosed, BadChipId, NoSingleApp, BadClientId, NotAllowed, BadTopic, BadPayload, Quota, Unavailable];
        for refusal in ours {
            assert!(!is_wrong_credentials(refusal), "{refusal:?}");
        }
    }
}
