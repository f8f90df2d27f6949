//! The wire rows of MQTT 3.1.1 and 5.0, on one shard and on two, whole and byte by byte.

/// Names a test after each file of `mqtt/vectors/` and runs its cases.
macro_rules! files {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("../src/mqtt/vectors/", stringify!($name), ".rows"));
            let cases = testkit::rows::run_file(text, &protocols::mqtt::PROTOCOL).unwrap_or_else(|failures| panic!("{failures}"));
            assert!(cases > 0, "a file without cases shows nothing");
        }
    )*};
}

files! {
    addresses connect deliver framing keep_alive publish resumption retained session subscribe umqtt will
    v5_addresses v5_alias v5_connect v5_deliver v5_flow v5_framing v5_publish v5_resumption v5_session v5_shared v5_subscribe v5_will
}
