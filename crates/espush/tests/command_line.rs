//! The built program as a shell sees it, where no server is needed: usage, refused settings, and what is
//! said when nobody answers. With a server: `tests/`.

use std::process::{Command, Output};

/// Runs the program in an empty directory without any of our variables.
fn espush(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("ESPUSH_"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_espush"));
    ours.for_each(|name| {
        command.env_remove(name);
    });
    command.args(args).current_dir(dir.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_is_help_and_wrong_usage_is_not_queued() {
    let help = espush(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["serve", "app", "device", "push", "pushes", "data", "messages", "knocks", "tail", "token", "sim", "doctor"] {
        assert!(text(&help.stdout).contains(&format!("  {command} ")), "{command} is not in the help");
        assert_eq!(espush(&[command, "--help"]).status.code(), Some(0), "{command} --help");
    }
    let settings = text(&espush(&["serve", "--help"]).stdout);
    for protocol in protocols::ALL {
        assert!(settings.contains(&format!("{}.listen", protocol.name)), "{} is not in serve --help", protocol.name);
    }
    for wrong in [&["nonsense"][..], &["push"], &["push", "lamp", "on", "--wait", "soon"], &[]] {
        assert_eq!(espush(wrong).status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn a_wrong_setting_is_refused_before_anything_starts() {
    let refused = espush(&["serve", "--set", "mqtt.lisen=127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("--set mqtt.lisen: unknown key \"mqtt.lisen\"; did you mean \"mqtt.listen\"?"), "{said}");
    assert!(refused.stdout.is_empty());
}

#[test]
fn without_a_server_the_sentence_names_the_fix() {
    // Port 9 of a loopback address that nothing else uses: refused at once.
    let server = "http://127.9.9.9:9";
    let push = espush(&["push", "lamp", "on", "--server", server]);
    assert_eq!(push.status.code(), Some(1));
    let said = text(&push.stderr);
    assert!(said.contains(server) && said.contains("espush serve"), "{said}");
    assert_eq!(espush(&["tail", "--server", server]).status.code(), Some(1), "a server never seen is not waited for");
    let doctor = espush(&["doctor", "--server", server]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(text(&doctor.stdout).contains("BAD  server"), "{}", text(&doctor.stdout));
}
