//! The espush program: the server and everything that talks to it, one file per sub-command in [`cli`].
//! The only room that knows all others, and therefore short.

mod assemble;
mod bridges;
mod certificates;
mod cli;
mod config;
mod demo;
mod events;
mod http;
mod metrics;
mod migrate;
mod outbound;
mod room;
mod serve;
mod sys;
mod websocket;

fn main() -> std::process::ExitCode {
    cli::main()
}
