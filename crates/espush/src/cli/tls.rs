//! `espush tls`: certificates for a house without a CA. Talks to no server; writes into the data directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Subcommand;

use super::duration::now;
use super::say;
use crate::certificates::directory;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a P-256 and an RSA-2048 certificate that vouch for themselves
    #[command(
        after_help = "Boards take the printed file as their CA, or pin the certificate. A running server takes new ones after SIGHUP."
    )]
    SelfSigned {
        /// The server's data directory
        #[arg(long, value_name = "DIR", default_value = "./espush-data")]
        data: PathBuf,
        /// A host name or address that boards connect to; may be given several times
        #[arg(long, value_name = "HOST", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
        name: Vec<String>,
        /// Replace those that are there; boards that have pinned them no longer connect
        #[arg(long)]
        force: bool,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Verb::SelfSigned { data, name, force } = args.verb;
    let good = |name: &String| {
        !name.is_empty() && name.len() <= 253 && name.bytes().all(|b| b.is_ascii_graphic() && !b",;=\"\\".contains(&b))
    };
    if let Some(bad) = name.iter().find(|name| !good(name)) {
        anyhow::bail!(
            "{bad:?} is no host name; give each with a --name of its own, such as --name push.example.org --name 192.168.1.10"
        );
    }
    let dir = directory(&data);
    let trust = dir.join("trust.pem");
    ensure!(force || !trust.exists(), "{} is there already; boards may have pinned it. Replace it with --force", trust.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let pairs = net::self_signed(&name, now().0 / 1000).context("cannot make certificates")?;
    for pair in &pairs {
        write(&dir.join(format!("{}.crt", pair.kind)), &pair.certificate)?;
        write(&dir.join(format!("{}.key", pair.kind)), &pair.key)?;
    }
    write(&trust, &pairs.iter().flat_map(|pair| pair.certificate.clone()).collect::<Vec<u8>>())?;
    say(format_args!("made {} for {}, good for ten years", dir.display(), name.join(", ")));
    say(format_args!("clients trust it by {} (mosquitto_sub --cafile, or pinned)", trust.display()));
    say("turn TLS on with these lines in the settings file (or --set KEY=VALUE); the server finds the certificates by itself:");
    say("  mqtt.tls.listen = \"0.0.0.0:8883\"");
    say("  https.listen = \"0.0.0.0:8443\"");
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&draft);
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?.write_all(bytes)?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
