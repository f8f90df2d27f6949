//! `espush serve`: runs the server until it is told to stop.

use crate::config::Config;

/// Runs until SIGTERM or SIGINT. `demo` adds the virtual lamp.
pub fn run(_config: Config, _demo: bool) -> anyhow::Result<()> {
    anyhow::bail!("the server is not assembled yet")
}
