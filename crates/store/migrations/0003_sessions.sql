-- What the hub keeps: sessions, what waits in them, retained messages.

CREATE TABLE sessions (
    id           INTEGER PRIMARY KEY,
    owner        INTEGER NOT NULL, -- 0 a device, 1 a token, 2 an account, 3 anybody
    owner_number INTEGER NOT NULL,
    client       TEXT NOT NULL,
    keep_s       INTEGER NOT NULL,
    away         INTEGER,          -- since when it has no line
    sent         INTEGER NOT NULL  -- the last place sent when its line ended
) STRICT;

-- Wills that are still to be published. A session has an older one beside its own only until that is said.
CREATE TABLE wills (
    session INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    will    BLOB NOT NULL, -- postcard
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE wishes (
    session INTEGER NOT NULL,
    filter  TEXT NOT NULL,
    options INTEGER NOT NULL, -- bits: see vault.rs
    id      INTEGER NOT NULL,
    PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;

-- Exactly-once publishes that clients have begun and not ended.
CREATE TABLE claims (
    session INTEGER NOT NULL,
    publish INTEGER NOT NULL,
    PRIMARY KEY (session, publish)
) STRICT, WITHOUT ROWID;

-- A message lies here once, however many sessions it waits in, and goes with the last of them.
CREATE TABLE messages (
    id      INTEGER PRIMARY KEY,
    waits   INTEGER NOT NULL, -- how many rows of queued name it
    topic   TEXT NOT NULL,
    payload BLOB NOT NULL,
    options INTEGER NOT NULL, -- bits: see vault.rs
    source  INTEGER,          -- a device
    at      INTEGER NOT NULL,
    expires INTEGER,
    props   BLOB              -- postcard
) STRICT;
CREATE INDEX messages_expires ON messages (expires) WHERE expires > 0;

CREATE TABLE queued (
    session INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    message INTEGER NOT NULL,
    options INTEGER NOT NULL, -- bits: see vault.rs
    rare    BLOB,             -- postcard
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

-- A row without a payload is a topic whose last value was taken away a moment ago: a shard that is behind
-- must not bring the value back.
CREATE TABLE retained (
    topic   TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    payload BLOB,
    options INTEGER NOT NULL,
    source  INTEGER,
    at      INTEGER NOT NULL,
    expires INTEGER,
    props   BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX retained_gone ON retained (version) WHERE payload IS NULL;
