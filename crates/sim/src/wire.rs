//! The seam between a board's line and the protocol it speaks: a client as a pure machine, like those of
//! the server, so that the same board plays over each protocol and the line knows none of them.

use std::time::Duration;

use crate::board::Board;

/// The client side of one protocol, for one connection.
pub(crate) trait Wire: Send {
    /// The first bytes of the line.
    fn hello(&mut self, board: &Board, out: &mut Vec<u8>);

    /// Takes whole packets off `input` and returns how many bytes they were. What stands in `out` is
    /// written also when the line is to end.
    fn on_bytes(&mut self, board: &mut Board, input: &[u8], out: &mut Vec<u8>, told: &mut Told) -> Result<usize, Ended>;

    /// Says what the board measures now.
    fn upload(&mut self, board: &mut Board, out: &mut Vec<u8>);

    /// Shows that the board is there; called every [`Wire::heartbeat`] once it is logged in.
    fn beat(&mut self, out: &mut Vec<u8>) -> Result<(), Ended>;

    /// How often to show it.
    fn heartbeat(&self) -> Duration;

    /// The last bytes before a proper end.
    fn goodbye(&mut self, out: &mut Vec<u8>);
}

/// What happened on a line since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The server let the board in.
    pub logged_in: bool,
    /// Uploads that the server acknowledged.
    pub uploads: u64,
    /// Orders that the board was given.
    pub orders: u64,
}

/// Why a line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The server does not let the board in.
    Refused(String),
    /// The line broke, or the server did what this protocol does not allow.
    Broken(String),
    /// The board restarts.
    Restart,
    /// The fleet stops.
    Stopped,
}
