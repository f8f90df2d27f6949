//! The wire rows of ES-PUSH classic, on one shard and on two, whole and byte by byte.

fn rows(text: &str) {
    let cases = testkit::rows::run_file(text, &protocols::espush::PROTOCOL).unwrap_or_else(|failures| panic!("{failures}"));
    assert!(cases > 0, "a file without cases shows nothing");
}

#[test]
fn registration() {
    rows(include_str!("../src/espush/vectors/registration.rows"));
}

#[test]
fn line() {
    rows(include_str!("../src/espush/vectors/line.rows"));
}

#[test]
fn upload() {
    rows(include_str!("../src/espush/vectors/upload.rows"));
}

#[test]
fn orders() {
    rows(include_str!("../src/espush/vectors/orders.rows"));
}
