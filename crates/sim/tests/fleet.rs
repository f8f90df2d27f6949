//! A fleet on real sockets of this machine, against a server of a few lines. What it shows: boards come
//! in, upload, obey, come back after the line broke, and end when they are told to or when the future is dropped.

use std::time::Duration;

use protocols::espush::codec::{decode, encode, kind};
use sim::{Link, Options, OptionsError, Who, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const KEY: &str = "25b28f0ffb9711e4a96d446d579b49a1";

fn app(boards: u32) -> Who {
    Who::App { app: 7, key: KEY.into(), first_chip: 100, boards }
}

/// The next frame from a board; `None` when it has gone.
async fn frame(stream: &mut TcpStream) -> Option<(u32, u16, Vec<u8>)> {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).await.ok()?;
    let length = u32::from_be_bytes(bytes.first_chunk().copied()?) as usize;
    bytes.resize(length, 0);
    stream.read_exact(bytes.get_mut(4..)?).await.ok()?;
    let (frame, _) = decode(&bytes, 4224).ok()??;
    Some((frame.msgid, frame.kind, frame.body.to_vec()))
}

async fn send(stream: &mut TcpStream, msgid: u32, kind: u16, body: &[u8]) {
    let mut out = Vec::new();
    encode(&mut out, msgid, kind, body);
    stream.write_all(&out).await.expect("the board reads");
}

/// Takes a board's registration.
async fn welcome(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a board comes");
    let (msgid, asked, body) = frame(&mut stream).await.expect("a registration");
    assert_eq!((asked, body.len()), (kind::REGISTER, 76));
    send(&mut stream, msgid, 1, &[0]).await;
    stream
}

#[tokio::test]
async fn a_board_uploads_obeys_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let fleet = tokio::spawn(run(Options::new(server, Link::Espush, app(1)), async { drop(stopped.await) }, |_| {}));

    let mut board = welcome(&listener).await;
    let mut uploads = vec![];
    while uploads.len() < 2 {
        let (msgid, asked, body) = frame(&mut board).await.unwrap();
        match asked {
            kind::UPLOAD => {
                uploads.push(String::from_utf8_lossy(&body[6..]).into_owned());
                send(&mut board, msgid, 7, &[0]).await;
            }
            kind::HEARTBEAT => send(&mut board, msgid, 3, &1_466_599_588_u32.to_be_bytes()).await,
            other => panic!("{other:x}"),
        }
    }
    assert_eq!(uploads[0], "led,0");
    assert!(uploads[1].starts_with("adc,"));

    send(&mut board, 1, kind::PUSH, b"on").await;
    assert_eq!(frame(&mut board).await, Some((1, 5, vec![0])));
    let (msgid, _, body) = frame(&mut board).await.unwrap();
    assert_eq!(&body[6..], b"led,1");
    send(&mut board, msgid, 7, &[0]).await;

    send(&mut board, 2, kind::REBOOT, &[]).await;
    assert_eq!(frame(&mut board).await, Some((2, 0x13, vec![0])));
    assert_eq!(frame(&mut board).await, None, "it is off");
    let mut board = welcome(&listener).await;
    while !matches!(frame(&mut board).await, Some((_, kind::UPLOAD, body)) if body.ends_with(b"led,0")) {}

    drop(stop);
    let counts = fleet.await.unwrap().unwrap();
    assert_eq!((counts.connected, counts.logins, counts.orders, counts.refused), (0, 2, 2, 0), "{counts:?}");
    assert!(counts.uploads >= 3, "{counts:?}");
    while frame(&mut board).await.is_some() {}
}

#[tokio::test]
async fn a_fleet_ends_when_its_future_is_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let options = Options { upload_every: None, spread: Duration::from_millis(20), ..Options::new(server, Link::Espush, app(5)) };
    let fleet = tokio::spawn(run(options, std::future::pending(), |_| {}));
    let mut boards = vec![];
    for _ in 0..5 {
        boards.push(welcome(&listener).await);
    }
    fleet.abort();
    for mut board in boards {
        while frame(&mut board).await.is_some() {}
    }
}

#[tokio::test]
async fn trouble_is_counted_and_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    drop(listener); // nobody there
    let (found, seen) = oneshot::channel();
    let mut found = Some(found);
    let report = move |counts: &sim::Counts| {
        if counts.broken > 0
            && let Some(found) = found.take()
        {
            let _ = found.send(counts.trouble.clone());
        }
    };
    let told = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let stop = {
        let told = told.clone();
        async move { *told.lock().unwrap() = seen.await.unwrap_or_default() }
    };
    let counts = run(Options::new(server, Link::Mqtt, app(1)), stop, report).await.unwrap();
    assert!(counts.broken >= 1 && counts.connected == 0);
    assert!(told.lock().unwrap().starts_with("cannot reach 127.0.0.1:"));
}

#[tokio::test]
async fn bad_options_are_told_at_once() {
    let never = || std::future::pending::<()>();
    let bad = |link, who| Options::new("127.0.0.1:1", link, who);
    let short = Who::App { app: 7, key: "abc".into(), first_chip: 1, boards: 1 };
    assert_eq!(run(bad(Link::Mqtt, short), never(), |_| {}).await, Err(OptionsError::AppKey));
    let over = Who::App { app: 7, key: KEY.into(), first_chip: u32::MAX, boards: 2 };
    assert_eq!(run(bad(Link::Espush, over), never(), |_| {}).await, Err(OptionsError::ChipIds));
    let devices = Who::Devices(vec![("lamp".into(), "s".into())]);
    assert_eq!(run(bad(Link::Espush, devices), never(), |_| {}).await, Err(OptionsError::NeedsApp));
}
