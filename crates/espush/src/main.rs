//! The espush program: the server and everything that talks to it, one file per sub-command in [`cli`].
//! The only room that knows all others, and therefore short.

mod cli;
mod config;
mod serve;

fn main() -> std::process::ExitCode {
    cli::main()
}
