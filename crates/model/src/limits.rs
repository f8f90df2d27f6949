//! Every limit of espush, with its reason. A thing that a peer can make grow has its bound here and
//! nowhere else, so that one page answers "what can a stranger make this program spend?".
//! Units stand last in the name. Changing a number here changes behaviour that tests pin down.

// ---- text that people and devices choose ----

/// Longest device id in bytes. Fits every printed label, URL path and MQTT user name in the field.
pub const DEVICE_ID_BYTES_MAX: usize = 64;
/// Longest human name, alias or tag in bytes: a line on a phone, four bytes a character.
pub const NAME_BYTES_MAX: usize = 256;
/// Tags per device: enough for room, floor, site, batch; small enough to copy freely.
pub const TAGS_MAX: usize = 32;
/// Values that an owner may write down about a device: what a label, an invoice and a map say of it.
pub const META_MAX: usize = 32;
/// Longest name of one in bytes: a column of a table.
pub const META_NAME_BYTES_MAX: usize = 64;
/// Longest text of one in bytes, as for a name.
pub const META_TEXT_BYTES_MAX: usize = NAME_BYTES_MAX;
/// Bytes of all of a device's together, names included. They are in memory, for queries; a million devices with
/// this much each would not fit, but no device needs it all.
pub const META_BYTES_MAX: usize = 2048;
/// Different names that one export may have as columns: more than a spreadsheet shows well.
pub const META_COLUMNS_MAX: usize = 256;
/// Stream name in bytes. The ES-PUSH tag column held 32 characters; JSON keys get some more.
pub const STREAM_BYTES_MAX: usize = 64;

// ---- topics and packets ----

/// Longest topic or filter in bytes. The wire allows 65,535; real topics stay under 200.
pub const TOPIC_BYTES_MAX: usize = 1024;
/// Most levels in a topic or filter: bounds the depth of the wildcard trie's walk.
pub const TOPIC_LEVELS_MAX: usize = 32;
/// Largest MQTT packet in bytes, header excluded. An ESP8266 has about 40 KiB of heap; a firmware
/// image goes by HTTP or in sectors, not in one packet.
pub const MQTT_PACKET_BYTES_MAX: usize = 256 * 1024;
/// Largest packet before a client has logged in: a CONNECT with every field used sensibly. Keeps a
/// stranger from making us hold a quarter of a megabyte for him.
pub const MQTT_CONNECT_BYTES_MAX: usize = 8 * 1024;
/// Longest MQTT client id in bytes (3.1.1 obliges us to take 23, real ones reach about 100).
pub const CLIENT_ID_BYTES_MAX: usize = 256;
/// Topic aliases that a client may set, and that we use towards one: a board has a handful of topics, and
/// each alias may hold a topic of the longest kind.
pub const MQTT_TOPIC_ALIASES_MAX: u16 = 16;
/// Publishes of a level 5 client that may be unacknowledged at once (its receive maximum): as many as
/// [`INBOUND_OPEN_MAX`], the bound of the dearer kind.
pub const MQTT_RECEIVE_MAX: u16 = INBOUND_OPEN_MAX as u16;
/// User properties of one message. Each costs several times its bytes on the wire while it is kept.
pub const MQTT_USER_PROPERTIES_MAX: usize = 64;
/// Largest ES-PUSH classic frame in bytes, header included: the device's own reassembly buffer
/// (0x1080). A longer one makes the device drop the line, so it is the bound of both directions.
pub const ESPUSH_FRAME_BYTES_MAX: usize = 4224;

/// Longest WebSocket frame in bytes. Its payload passes through without being collected, so this bounds
/// no memory; it ends clients that announce a length which no MQTT client means.
pub const WEBSOCKET_FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Payload bytes of one TLS record to a device unless told otherwise: what an ESP8266 with the smallest
/// receive buffer can take, also when it forgot to ask for a maximum fragment length.
pub const TLS_RECORD_BYTES_DEFAULT: usize = 512;
/// The most that TLS allows in one record.
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024;

// ---- time ----

/// Seconds that a connection may take to log in, counted from accept. The stock ES-PUSH server used 20.
pub const LOGIN_S_MAX: u64 = 20;
/// Seconds without a byte after which an ES-PUSH classic line is dead: 290 s heartbeats plus slack (H6).
pub const ESPUSH_IDLE_S_MAX: u64 = 330;
/// Seconds that an ES-PUSH device has to answer a command before the line counts as dead.
pub const ESPUSH_ANSWER_S_MAX: u64 = 8;
/// Seconds that a begun packet may take to arrive whole. A client that trickles bytes holds memory
/// for an unfinished packet; a slow modem (GPRS, 2 KB/s) sends the largest packet in about this time.
pub const PACKET_S_MAX: u64 = 120;

// ---- sessions and queues ----

/// Subscriptions per session. A gateway that mirrors a house has hundreds.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 1_000;
/// Messages sent and not yet acknowledged per session (also the size of the packet-id window we use).
pub const INFLIGHT_MAX: u16 = 32;
/// Incoming QoS 2 messages a client may have open. Bounds the set of ids we must remember.
pub const INBOUND_OPEN_MAX: usize = 128;
/// Messages waiting per session.
pub const QUEUE_MESSAGES_MAX: usize = 1_000;
/// Payload bytes waiting per session.
pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Retained messages that one subscription may bring at once, beyond the queue's own limit: a house's
/// worth. A subscription to more sees the first so many and the rest is counted as dropped.
pub const RETAINED_BURST_MAX: usize = 10_000;
/// Retained messages that one tick forgets because their time is over: a million that end at once neither
/// hold a shard up nor fill its journal.
pub const RETAINED_ENDS_PER_TICK_MAX: usize = 5000;
/// Refusals per connection that the owner is told of; later ones are only counted, so that a device
/// which tries a forbidden topic in a loop does not bury the others.
pub const DENIALS_TOLD_MAX: u8 = 10;
/// Retained messages in all, and their payload bytes.
pub const RETAINED_MESSAGES_MAX: usize = 1_000_000;
/// Bytes of retained payloads in all.
pub const RETAINED_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Sessions kept for clients that are away, in all shards together.
pub const SESSIONS_AWAY_MAX: usize = 1_000_000;
/// Sessions of one device or token. A device has one or two; a token may serve all services of a house. Who
/// takes a new name each time must not use up what there is for all.
pub const SESSIONS_PER_PARTY_MAX: usize = 256;
/// Messages that may wait in one shard's inbox from its neighbours before QoS 0 ones are dropped.
pub const INBOX_MAIL_MAX: usize = 100_000;
/// Bytes of messages that may wait for the platform. Beyond half of it those that nobody waits for are
/// dropped, beyond all of it uploads are refused: a device floods no faster than its points are written.
pub const EVENTS_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that may wait for the platform before those that nobody waits for are dropped.
pub const EVENTS_WAITING_MAX: usize = 200_000;
/// Milliseconds that facts nobody waits for (a device came, a line broke) wait for others: in a storm of
/// logins they are then told five hundred times a second and not once each, and no eye sees the difference.
pub const EVENTS_GATHERED_MS: u64 = 2;
/// Bytes a connection's socket may leave unsent before its deliveries wait in the session queue.
pub const UNSENT_BYTES_HIGH: usize = 64 * 1024;
/// Unsent bytes (answers to a peer that does not read) at which the connection is closed.
pub const UNSENT_BYTES_MAX: usize = 512 * 1024;

// ---- HTTP and the platform ----

/// HTTP connections at once: browsers keep about six each, event streams one.
pub const HTTP_CONNECTIONS_MAX: usize = 10_000;
/// Seconds that a request's head may take to arrive, and that a kept-alive connection may idle.
pub const HTTP_HEADER_S_MAX: u64 = 20;
/// Seconds that a request's body may take to arrive: the largest one over a line of 5 KB/s.
pub const HTTP_BODY_S_MAX: u64 = 120;
/// Seconds that a peer may leave what we sent unread before its connection is ended.
pub const HTTP_UNREAD_S_MAX: u64 = 60;
/// Largest head of a request.
pub const HTTP_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Largest body of an API request.
pub const HTTP_BODY_BYTES_MAX: usize = 512 * 1024;
/// Largest body of a sign-in, which anybody may send: a code or a token.
pub const SIGNIN_BODY_BYTES_MAX: usize = 4 * 1024;
/// Largest payload of a push: what the largest MQTT packet carries, with room for topic and header.
pub const PUSH_PAYLOAD_BYTES_MAX: usize = 255 * 1024;
/// Devices in one explicit `devices: […]` audience. Larger audiences are tags, apps or queries.
pub const AUDIENCE_IDS_MAX: usize = 1_000;
/// Longest query in bytes. Percent-encoded in a URL it still fits [`HTTP_HEADER_BYTES_MAX`].
pub const QUERY_BYTES_MAX: usize = 4 * 1024;
/// How deep parentheses and `not` of a query may go: each level is a call on the stack, for each device.
pub const QUERY_DEPTH_MAX: usize = 32;
/// Conditions and values of a query together: in the worst case each is looked at for each device, and a
/// million devices are to be passed in a second.
pub const QUERY_VALUES_MAX: usize = 256;
/// Streams and values of twins that one query may name: those of each are held in memory for all devices.
pub const QUERY_STREAMS_MAX: usize = 8;
/// Conditions of a query once the groups that it names are put in their place: sixteen full ones. Each is
/// looked at for each device.
pub const QUERY_EXPANDED_MAX: usize = 4_096;
/// How deep groups may name groups.
pub const GROUP_LEVELS_MAX: usize = 8;
/// Groups in all: they are people's, and a list that they can read.
pub const GROUPS_MAX: usize = 1_000;
/// Queries that are carried out at once, each on a thread of its own; a further one waits. More would only
/// take the cores from each other, and from the devices.
pub const QUERIES_AT_ONCE_MAX: usize = 2;
/// Bytes of newest values held for queries: nearly three streams of a million devices (measured:
/// `cargo run --release -p telemetry --example newest -- 1000000`). The stream that was not
/// asked for longest is let go first.
pub const LATEST_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of values of twins held for queries, as [`LATEST_BYTES_MAX`] is for points.
pub const TWIN_VALUES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest time an API call may wait for an answer.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Rows of one page of a list: the default and the most one may ask for.
pub const PAGE_ROWS_DEFAULT: usize = 100;
/// The most rows of one page.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Pushes still waiting per device; a further one is refused.
pub const PENDING_PER_DEVICE_MAX: usize = 100;
/// Payload bytes of all pushes that wait, in memory as well as on disk; a further push is refused. A push
/// to many counts once.
pub const PENDING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Deliveries that may be open, in memory as well as on disk, those still to be made included: one push to
/// each of a million devices. About 640 bytes each (measured: `cargo run --release -p push --example crowd`).
pub const PENDING_DELIVERIES_MAX: usize = 1_000_000;
/// Deliveries of old pushes that are deleted in one transaction: some milliseconds, between those of others.
pub const PUSH_PRUNE_ROWS_MAX: usize = 1_000;
/// How long pushes are kept unless the owner says otherwise, in days: a quarter of a year, the time in which somebody
/// asks what became of one.
pub const PUSH_KEEP_DAYS_DEFAULT: u32 = 90;
/// Devices of one batch of a push to many: one transaction of some milliseconds, so that nobody waits long
/// for a disk that is busy with others' pushes.
pub const PUSH_PART_DEVICES_MAX: usize = 1_000;
/// Pushes to many whose deliveries may be in the making at once; a further one is refused. Each holds its
/// payload and four bytes a device.
pub const PUSHES_UNMADE_MAX: usize = 64;
/// Pushes that start later or go slowly, at once; a further one is refused. They are looked through at every turn
/// of the room, and their payloads and devices count among what waits.
pub const PUSHES_UNHURRIED_MAX: usize = 1_000;
/// The most devices a second of a slow push: as fast as batches are made anyway.
pub const PUSH_PER_SECOND_MAX: u32 = 100_000;
/// How many times a second a slow push takes some of its devices: often enough to be even, seldom enough that each
/// time may be a transaction of its own.
pub const PUSH_STEPS_PER_SECOND: u32 = 10;
/// How far ahead a push may start, in seconds: a year.
pub const PUSH_AHEAD_S_MAX: u64 = 366 * 24 * 3600;
/// Schedules; a further one is refused. Each is in memory, and looked at whenever one of them is due.
pub const SCHEDULES_MAX: usize = 1_000;
/// Bytes of all schedules' pushes, which are in memory.
pub const SCHEDULES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The shortest step of a schedule in seconds: each run is a push that is kept for the record.
pub const SCHEDULE_EVERY_S_MIN: u64 = 10;
/// The longest step of a schedule in seconds: a year.
pub const SCHEDULE_EVERY_S_MAX: u64 = 366 * 24 * 3600;
/// How late a run may be unless the schedule says otherwise, in seconds: a reboot and an update fit.
pub const SCHEDULE_GRACE_S_DEFAULT: u64 = 3600;
/// The latest that a run may be said to be allowed, in seconds: a week.
pub const SCHEDULE_GRACE_S_MAX: u64 = 7 * 24 * 3600;
/// Missed runs that are counted; beyond that there are "at least" so many. Two months of every minute.
pub const SCHEDULE_MISSED_COUNTED_MAX: u64 = 100_000;
/// Runs of a schedule that are remembered; then the oldest go.
pub const SCHEDULE_RUNS_KEPT: usize = 1_000;
/// How long after its delivery an answer to a push is still taken, in seconds: a battery device that
/// wakes once a day answers on its next turn.
pub const ANSWER_S_MAX: u64 = 25 * 3600;
/// Longest sentence kept with a delivery in bytes: a paragraph on a phone.
pub const DETAIL_BYTES_MAX: usize = 1024;
/// Longest collapse key in bytes: a topic's name or a setting's. It is in memory once for each push that waits.
pub const COLLAPSE_BYTES_MAX: usize = 64;
/// Bytes of the steps that are remembered of a delivery, about: some dozens, since most say nothing but their state.
/// Then the older half goes; only a device whose line breaks again and again has so many.
pub const DELIVERY_STEPS_BYTES_MAX: usize = 2048;
/// Longest idempotency key in bytes: a UUID or a hash with a prefix fits several times.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Largest answer kept with a delivery.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of answers that may wait for the push room; a further one is refused, and its device sends it again.
pub const ANSWERS_WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a push is kept for an absent device unless it says otherwise: a long weekend.
pub const PUSH_TTL_S_DEFAULT: u64 = 4 * 24 * 3600;
/// The longest time to live of a push: a year.
pub const PUSH_TTL_S_MAX: u64 = 366 * 24 * 3600;
/// Members of one `me/data` object, and so points of one upload.
pub const POINTS_PER_UPLOAD_MAX: usize = 1_000;
/// Longest text value of a point in bytes.
pub const POINT_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Streams per device; an upload that would open one more is refused.
pub const STREAMS_PER_DEVICE_MAX: usize = 256;
/// Bytes of uploads that may wait for the store. QoS 0 ones are dropped from half of it on; one that
/// its device waits for is refused beyond it, never dropped silently.
pub const UPLOADS_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one part of a twin as JSON without blanks: an ESP8266 that reads it needs twice as much of its 40 KiB.
/// Settings and states, not documents.
pub const TWIN_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a device's report. What a device is given it may send back as it came, and that is at the most all that
/// is wanted, and nulls for all that was wanted before and all that is reported.
pub const TWIN_REPORT_BYTES_MAX: usize = 5 * TWIN_BYTES_MAX;
/// How deep objects and arrays of a twin may lie in each other: each level is a call on the stack, also on the
/// device's.
pub const TWIN_DEPTH_MAX: usize = 8;
/// Changes of each part of a twin that are remembered; then the oldest go. A hundred short ones are some KiB a
/// device, the largest 1.6 MiB.
pub const TWIN_CHANGES_KEPT: u64 = 100;
/// Bytes of reports that may wait for the twin's room. From half of it on those that nobody waits for are dropped,
/// beyond it the others are refused.
pub const TWINS_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How far ahead of our clock a device's own time may be, in seconds; beyond that its clock is wrong
/// and the time of receipt is taken. A day covers every confusion of time zones.
pub const POINT_AHEAD_S_MAX: u64 = 24 * 3600;
/// How far ahead of its receipt a value may be dated because earlier values of its stream, which came in
/// the same milliseconds, have those times. A minute is sixty thousand values in one go; more are refused.
pub const POINTS_AHEAD_MS_MAX: i64 = 60_000;
/// Recent messages remembered per device for the console's log.
pub const MESSAGE_LOG_PER_DEVICE_MAX: usize = 100;
/// Payload bytes shown per remembered message; longer ones are cut and marked.
pub const MESSAGE_LOG_PAYLOAD_BYTES_MAX: usize = 1024;
/// Payload bytes of all remembered messages together; the longest-silent devices are forgotten first.
pub const MESSAGE_LOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Live watchers (SSE streams) at once.
pub const WATCHERS_MAX: usize = 1_000;
/// Pushes that one WebSocket may have under way: each may wait a minute for a device. Beyond that it is not read.
pub const SOCKET_PUSHES_MAX: usize = 32;
/// Bytes of a message to a number: what a board of a few kilobytes of memory could take many times over.
/// Larger things are for pushes, which wait for their device.
pub const ADDRESSED_BYTES_MAX: usize = 64 * 1024;
/// Seconds in which a device may answer whoever wrote to it: a board that sleeps has time to wake up, and a
/// page that was closed is not written to for ever.
pub const ADDRESSED_ANSWER_S: u64 = 600;
/// Of those who wrote to a device, how many it may answer: the last so many.
pub const ADDRESSED_ANSWERS_MAX: usize = 8;
/// Devices of a shard of which that is remembered: some 2 MB.
pub const ADDRESSED_DEVICES_MAX: usize = 16_384;
/// Lines of one token that have a number at once: browsers with as many tabs as they like, and a program
/// that forgets its lines is told so.
pub const ADDRESSED_LINES_PER_TOKEN_MAX: usize = 64;
/// Messages that wait for one such line; whoever sends one more is told that it is not taken.
pub const ADDRESSED_WAITING_MAX: usize = 32;
/// Bytes of those messages together, beyond the first: 256 MiB if all lines that there may be are full.
pub const ADDRESSED_WAITING_BYTES_MAX: usize = 256 * 1024;
/// Seconds that a shard may take to say what became of a message to a device.
pub const ADDRESSED_OUTCOME_S_MAX: u64 = 20;
/// Recent live events kept for watchers that come back, and how far a watcher may fall behind.
pub const FEED_EVENTS_MAX: usize = 1024;
/// Bytes of those events together. A point upload or an answer can be large.
pub const FEED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Seconds that live events are still kept after the last watcher has gone: it may only be reconnecting.
pub const FEED_RESUME_S: u64 = 60;
/// Recent refused logins kept for the console ("knocks").
pub const KNOCKS_MAX: usize = 200;
/// A sign-in link works this long.
pub const SIGNIN_LINK_S: u64 = 15 * 60;
/// A browser stays signed in this long.
pub const BROWSER_SESSION_S: u64 = 30 * 24 * 3600;
/// Sign-in links that may be open at once; making one more forgets the oldest.
pub const SIGNIN_LINKS_MAX: usize = 16;

// ---- the fleet ----

/// Devices in all: twice what is promised, and under 1 GiB of memory at about 500 bytes each
/// (measured: `cargo run -p fleet --example weight -- 1000000`).
pub const DEVICES_MAX: usize = 2_000_000;
/// Apps in all. An app is a product, not a device.
pub const APPS_MAX: usize = 10_000;
/// Tokens in all, signed-in browsers included.
pub const TOKENS_MAX: usize = 10_000;
/// Settings per app: every protocol's knobs a few times over.
pub const SETTINGS_MAX: usize = 64;
/// Longest value of a setting in bytes.
pub const SETTING_BYTES_MAX: usize = 256;
/// Devices that may be registering themselves at this moment; a further one is told to come again.
/// Group commit writes thousands a second, so this is a second's worth.
pub const REGISTRATIONS_OPEN_MAX: usize = 4_096;
/// Connections that may wait for the registration of one and the same device.
pub const REGISTRATION_WAITERS_MAX: usize = 16;
/// Bytes of a knock's claim that are kept.
pub const KNOCK_CLAIM_BYTES_MAX: usize = 256;
/// How long a device's old secret may work beside the new one, in seconds: a quarter, for devices that are
/// switched on once a season. A secret that should end must not be forgotten about.
pub const SECRET_OVERLAP_S_MAX: u64 = 92 * 24 * 3600;
/// Seconds that a change of a device's credentials is remembered for logins that were checked before it and
/// are still on their way: far longer than any login may take.
pub const CREDENTIALS_TURNED_S: u64 = 600;
/// Rows of one file of devices: a large delivery of boards, and some seconds of writing.
pub const IMPORT_ROWS_MAX: usize = 100_000;
/// Bytes of such a file: 300 a row. One at a time is held in memory.
pub const IMPORT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long it may take to arrive, in seconds: from a phone's line.
pub const IMPORT_BODY_S_MAX: u64 = 600;
/// Changes that the audit log remembers: some 20 MB on disk, and months of a house where people change things.
pub const AUDIT_ROWS_MAX: usize = 100_000;
/// How long it remembers them, in seconds: a year, the longest that most rules about such logs ask for.
pub const AUDIT_S_MAX: u64 = 366 * 24 * 3600;
/// Bytes of a target that are kept: any id or name of ours is shorter.
pub const AUDIT_TARGET_BYTES_MAX: usize = 256;
/// Names of members of one call that are kept: no call has more.
pub const AUDIT_FIELDS_MAX: usize = 16;
/// Broker accounts in all. An account may be shared by many clients; whoever has more of them than this
/// has devices, and those are registered as such.
pub const ACCOUNTS_MAX: usize = 100_000;
/// Rules per account: each is looked at for each publish until one decides.
pub const RULES_PER_ACCOUNT_MAX: usize = 256;
/// Longest password of an account in bytes: hashing it costs time before anything is known of its sender.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Passwords that may be checked at the same time: one costs about 50 ms of a core and 19 MiB.
pub const PASSWORD_CHECKS_AT_ONCE_MAX: usize = 2;
/// Passwords that may wait for their check; a further one is told to come again. About ten seconds' worth.
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 512;
/// Connections that may wait for the check of one and the same password: a large fleet behind an account.
pub const PASSWORD_CHECK_WAITERS_MAX: usize = 100_000;
/// Seconds that a checked password counts without checking it again: a fleet that shares an account
/// comes back at once, and costs one check.
pub const PASSWORD_REMEMBERED_S: u64 = 300;
/// Passwords remembered, at most half of them as wrong.
pub const PASSWORDS_REMEMBERED_MAX: usize = 100_000;
/// Failed logins to one account from one address, within [`LOGIN_FAILURES_S`], after which further ones
/// are refused unlooked at. The same wrong password again is no further guess and not counted.
pub const LOGIN_FAILURES_MAX: u8 = 10;
/// Seconds in which failed logins are counted together.
pub const LOGIN_FAILURES_S: u64 = 60;
/// Pairs of account and address whose failures are counted. When full, the oldest are forgotten.
pub const LOGIN_FAILURES_KEPT_MAX: usize = 10_000;

// ---- the embedded store ----

/// Jobs that may wait for the writer; a further caller waits before it may hand its job over.
pub const STORE_JOBS_WAITING_MAX: usize = 8_192;
/// Jobs of one transaction: more would make the first of them wait too long for its answer.
pub const STORE_JOBS_PER_COMMIT_MAX: usize = 1_024;
/// Points of removed devices that are deleted per transaction, so that removing one device with years
/// of points never holds up the others.
pub const STORE_PURGE_ROWS_MAX: usize = 5_000;

/// The part of `store.max_bytes` that is held back, a sixteenth and at most this: deletions, states of
/// deliveries and presence must go on in a store that is full.
pub const STORE_RESERVE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The smallest `store.max_bytes`: the log alone comes to 4 MiB before it is folded in.
pub const STORE_BYTES_MAX_MIN: u64 = 16 * 1024 * 1024;
/// Bytes that stay free on the store's file system by default. A system whose disk is full fails in ways
/// that nobody has tested; this leaves it room for logs and for an upgrade.
pub const STORE_FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// The largest database whose pages are all looked at before the start: under a second of reading from a
/// disk, some seconds from an SD card. A larger one is looked at while the server is at work.
pub const STORE_CHECK_AT_START_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A log of a full store that is not worth folding in once more.
pub const STORE_LOG_BYTES_SMALL: u64 = 1024 * 1024;
/// The largest database that is given checksums at a start if it has none: that copies it.
pub const STORE_CONVERT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Free pages that a database keeps for what comes next: 1 MiB.
pub const STORE_FREE_PAGES_KEPT: u64 = 256;
/// Free pages that are given back in one go, so that a job which comes meanwhile waits some milliseconds.
pub const STORE_FREE_PAGES_STEP: u64 = 256;
/// Facts of the hub in one batch: a transaction of some tens of milliseconds.
pub const NOTES_PER_BATCH_MAX: usize = 10_000;
/// Bytes of messages in one such batch, about.
pub const NOTES_PER_BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Facts of one shard that may wait for the disk; then what must be kept is refused, and last values at
/// QoS 0 are kept in memory only. Some seconds of the fastest disk.
pub const NOTES_WAITING_MAX: usize = 200_000;
/// Bytes of messages that may wait so.
pub const NOTES_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long what could not be kept waits before it is tried again, in milliseconds.
pub const NOTES_AGAIN_MS: u64 = 500;
/// Open files that devices leave to the rest: the store's, HTTP (whose connections are files, too, and by
/// which the owner finds out what is wrong), and the program's own. At most a quarter of all.
pub const FILES_BESIDE: u64 = 100;
/// How long a message for a client that is there may wait for its acknowledgement before it is written
/// down, in milliseconds: most are acknowledged within that and never touch the disk.
pub const COMMIT_WINDOW_MS: u16 = 2;

// ---- what an owner may set ----

/// Requests a second that one token may make unless the configuration says otherwise: five times what the busiest known
/// senders push, and less than what keeps a small machine from its devices. A loop that ran away is stopped here.
pub const HTTP_RATE_PER_S_DEFAULT: u32 = 5_000;
/// How long a token that ran out is remembered, so that whoever shows it is told so, in seconds: a month, within which
/// somebody looks at the job that stopped.
pub const TOKEN_REMEMBERED_S: u64 = 30 * 24 * 3600;
/// Logins of one address that may fail within a minute before further ones are not looked at. Tokens cannot be guessed;
/// this keeps a script with a stale one from filling the log.
pub const HTTP_FAILED_LOGINS_PER_MINUTE: u32 = 60;
/// Addresses whose failed logins are counted; then the oldest is forgotten.
pub const HTTP_FAILED_ADDRESSES_MAX: usize = 4_096;
/// Webhooks that there may be. Each has a task and up to [`WEBHOOK_POSTS_AT_ONCE`] connections of its own, so that one
/// whose target hangs holds up no other; the product bounds them all.
pub const WEBHOOKS_MAX: usize = 64;
/// Connections that one webhook has open at once: enough for 80 events a second to a target 50 ms away.
pub const WEBHOOK_POSTS_AT_ONCE: usize = 4;
/// Events that wait for one webhook, and their bytes. Beyond that events are counted instead of kept, and the webhook is
/// told of the gap: a target that is away for days must not fill the disk.
pub const WEBHOOK_WAITING_MAX: u64 = 100_000;
/// See [`WEBHOOK_WAITING_MAX`].
pub const WEBHOOK_WAITING_BYTES_MAX: u64 = 64 << 20;
/// Failed deliveries that are kept for each webhook; the oldest go. Enough for a bad day to be looked at and replayed.
pub const WEBHOOK_FAILED_MAX: u64 = 10_000;
/// Events that wait to be written for webhooks, all together, and their bytes: what comes in while the disk is slow.
pub const WEBHOOK_INTAKE_MAX: usize = 20_000;
/// See [`WEBHOOK_INTAKE_MAX`].
pub const WEBHOOK_INTAKE_BYTES_MAX: usize = 32 << 20;
/// How often a delivery is tried unless the configuration says otherwise: with pauses that quadruple from 5 s to 6 h,
/// ten times are about 20 hours, which is a night and a morning to notice.
pub const WEBHOOK_ATTEMPTS_DEFAULT: u32 = 10;
/// The pause after the first failure, unless the configuration says otherwise.
pub const WEBHOOK_RETRY_MS_DEFAULT: u64 = 5_000;
/// The longest pause: a target that is back gets what waited within the working day.
pub const WEBHOOK_RETRY_MS_MAX: u64 = 6 * 3600 * 1000;
/// How long a target may take in all, from its name to its answer, unless the configuration says otherwise.
pub const WEBHOOK_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// A webhook to which nothing could be delivered for so long is switched off: somebody has forgotten it.
pub const WEBHOOK_FAILING_S_MAX: u64 = 3 * 24 * 3600;
/// How long a secret may work beside its successor: as long as that of a device.
pub const WEBHOOK_OVERLAP_S_MAX: u64 = SECRET_OVERLAP_S_MAX;
/// The longest URL of a webhook: what web servers take at least.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// The most that is read of a target's answer: its status and headers. What else it says is not looked at.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The limits that an owner may set, as `limits.<name>`. Their defaults are the constants above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`MQTT_PACKET_BYTES_MAX`].
    pub packet_bytes: usize,
    /// At most [`TOPIC_LEVELS_MAX`].
    pub topic_levels: usize,
    /// At most [`TOPIC_BYTES_MAX`].
    pub topic_bytes: usize,
    /// The longest keep-alive in seconds; a client that promises less often a sign of life is told this one
    /// (MQTT 5.0) or held to its own. 0 takes what clients ask for.
    pub keep_alive_s: u16,
    /// See [`LOGIN_S_MAX`].
    pub login_s: u16,
    /// See [`SUBSCRIPTIONS_PER_SESSION_MAX`].
    pub subscriptions_per_session: usize,
    /// See [`INFLIGHT_MAX`].
    pub in_flight: u16,
    /// See [`QUEUE_MESSAGES_MAX`].
    pub queue_messages: usize,
    /// See [`QUEUE_BYTES_MAX`].
    pub queue_bytes: usize,
    /// What happens when a queue is full, unless the app says otherwise (`session.queue`).
    pub queue_policy: QueuePolicy,
    /// See [`RETAINED_MESSAGES_MAX`].
    pub retained_messages: usize,
    /// See [`RETAINED_BYTES_MAX`].
    pub retained_bytes: usize,
    /// Connections of devices and MQTT clients that one IP address may hold at once. 0 is no limit, and the
    /// default: most devices of a site share one address.
    pub connections_per_address: u32,
    /// See [`COMMIT_WINDOW_MS`]; set as `store.commit_window_ms`.
    pub commit_window_ms: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            packet_bytes: MQTT_PACKET_BYTES_MAX,
            topic_levels: TOPIC_LEVELS_MAX,
            topic_bytes: TOPIC_BYTES_MAX,
            keep_alive_s: 0,
            login_s: LOGIN_S_MAX as u16,
            subscriptions_per_session: SUBSCRIPTIONS_PER_SESSION_MAX,
            in_flight: INFLIGHT_MAX,
            queue_messages: QUEUE_MESSAGES_MAX,
            queue_bytes: QUEUE_BYTES_MAX,
            queue_policy: QueuePolicy::default(),
            retained_messages: RETAINED_MESSAGES_MAX,
            retained_bytes: RETAINED_BYTES_MAX,
            connections_per_address: 0,
            commit_window_ms: COMMIT_WINDOW_MS,
        }
    }
}

/// What happens when a client's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// The message that came last is dropped: what was promised first is kept.
    #[default]
    DropNewest,
    /// The message that has waited longest is dropped: for clients that care for the present.
    DropOldest,
    /// The client is disconnected; what it has waiting stays with its session.
    Disconnect,
}

impl QueuePolicy {
    /// The policy of a word.
    pub fn parse(word: &str) -> Option<QueuePolicy> {
        match word {
            "drop-newest" => Some(QueuePolicy::DropNewest),
            "drop-oldest" => Some(QueuePolicy::DropOldest),
            "disconnect" => Some(QueuePolicy::Disconnect),
            _ => None,
        }
    }

    /// The word for the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            QueuePolicy::DropNewest => "drop-newest",
            QueuePolicy::DropOldest => "drop-oldest",
            QueuePolicy::Disconnect => "disconnect",
        }
    }
}
