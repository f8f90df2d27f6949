-- The first schema. Times are milliseconds since 1970 UTC, truth values are 0 and 1, sealed columns are
-- what seal.rs makes of a secret. A migration that was released is never edited: write the next one.

-- Facts about this database itself.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The highest number ever given, per kind. Outlives deletions, so that no number is given twice.
CREATE TABLE counters (
    kind TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE apps (
    id       INTEGER PRIMARY KEY,
    key      BLOB NOT NULL,    -- sealed
    name     TEXT NOT NULL,
    open     INTEGER NOT NULL,
    single   INTEGER NOT NULL,
    settings TEXT NOT NULL,    -- JSON object of texts
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    app         INTEGER NOT NULL REFERENCES apps (id),
    name        TEXT NOT NULL,
    alias       TEXT NOT NULL,
    tags        TEXT NOT NULL, -- JSON array of texts
    firmware    TEXT NOT NULL,
    open        INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    secret      BLOB NOT NULL, -- sealed: HMAC and PSK logins need it back
    secret_hash BLOB NOT NULL
) STRICT;
CREATE INDEX devices_app ON devices (app);

-- Apart from devices, because it changes often and a device's row is wide.
CREATE TABLE presence (
    device   INTEGER PRIMARY KEY REFERENCES devices (number) ON DELETE CASCADE,
    online   INTEGER NOT NULL,
    since    INTEGER,
    why      TEXT NOT NULL,
    protocol TEXT NOT NULL,
    remote   TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    role    TEXT NOT NULL,
    hash    BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT;

CREATE TABLE pushes (
    id              INTEGER PRIMARY KEY,
    kind            TEXT NOT NULL, -- message, ask, command
    verb            TEXT,          -- of a command
    payload         BLOB NOT NULL,
    audience        TEXT NOT NULL, -- JSON as the sender wrote it
    sender          TEXT NOT NULL,
    created         INTEGER NOT NULL,
    expires         INTEGER,
    idempotency_key TEXT
) STRICT;
CREATE UNIQUE INDEX pushes_key ON pushes (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE deliveries (
    push   INTEGER NOT NULL REFERENCES pushes (id),
    device INTEGER NOT NULL REFERENCES devices (number) ON DELETE CASCADE,
    state  INTEGER NOT NULL, -- numbered in pushes.rs; 0 to 2 are not final
    at     INTEGER NOT NULL,
    detail TEXT NOT NULL,
    answer BLOB,
    PRIMARY KEY (push, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (push, device) WHERE state <= 1;
CREATE INDEX deliveries_delivered ON deliveries (at) WHERE state = 2;
CREATE INDEX deliveries_device ON deliveries (device);

-- A device's streams by a small number of their own, so that a point carries one byte and not a name.
CREATE TABLE streams (
    device INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    name   TEXT NOT NULL,
    PRIMARY KEY (device, stream)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX streams_name ON streams (device, name);

-- One row a point, about 25 bytes for a number. The simple table of now: sealed blocks come with retention.
CREATE TABLE points (
    device INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    value  ANY NOT NULL, -- REAL is a number, TEXT a text, INTEGER 0 or 1 a truth value
    PRIMARY KEY (device, stream, at)
) STRICT, WITHOUT ROWID;

-- Removed devices whose points are still to be deleted, a few thousand rows a transaction.
CREATE TABLE removed (
    device INTEGER PRIMARY KEY
) STRICT;
