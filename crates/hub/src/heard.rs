//! What a connection's bytes were about, for whoever reads sockets: acknowledgements that nobody waits for
//! may be read a moment later, together.

/// What a connection's bytes were about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that the hub was told of.
    #[default]
    Nothing,
    /// Acknowledgements, and nobody waits for them: no message for a place among those on their way, no
    /// disk for what need not be kept any more, no sender of a push.
    Acknowledgements,
    /// Something else, or something that somebody waits for.
    More,
}

impl Heard {
    /// A message was acknowledged.
    pub(crate) fn acknowledged(&mut self, somebody_waits: bool) {
        if somebody_waits {
            *self = Heard::More;
        } else if *self == Heard::Nothing {
            *self = Heard::Acknowledgements;
        }
    }
}
