//! The byte kit: what every decoder shares, so that no protocol indexes raw slices by itself.

mod cursor;

pub use cursor::{Cursor, Short};
