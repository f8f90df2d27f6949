//! Virtual ESP8266s for `espush sim`, `serve --demo` and tests: an LED, a button and an ADC that drifts,
//! over MQTT or ES-PUSH classic, one or ten thousand. [`Board`] is the board without any network, [`run`]
//! puts a fleet of them on real sockets. Deliberately absent: anything of the server; the boards know it
//! by its ports alone, and share only the codecs with it.

pub mod board;
mod espush;
pub mod fleet;
mod line;
mod mqtt;
mod tally;
#[cfg(test)]
mod tests;
mod wire;

pub use board::Board;
pub use fleet::{Link, Options, OptionsError, Who, run};
pub use tally::Counts;
