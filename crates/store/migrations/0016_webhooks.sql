-- Where events are sent, and those that are still to be sent.

CREATE TABLE webhooks (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL,
    url           TEXT NOT NULL,
    kinds         TEXT NOT NULL,    -- JSON array of texts
    query         TEXT NOT NULL,    -- as its owner wrote it; empty for all devices
    secret        BLOB NOT NULL,    -- sealed
    old_secret    BLOB,             -- sealed; works beside the other until a time
    old_until     INTEGER,
    active        INTEGER NOT NULL,
    off_since     INTEGER,
    why_off       TEXT NOT NULL,
    created       INTEGER NOT NULL,
    failing_since INTEGER,
    last_ok       INTEGER,
    last_error    TEXT NOT NULL,
    lost          INTEGER NOT NULL  -- events that could not be kept, and of which it was not told yet
) STRICT;

CREATE TABLE webhook_deliveries (
    id      INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    body    TEXT NOT NULL,
    tries   INTEGER NOT NULL,
    due     INTEGER,                -- none when it has failed for good
    tried   INTEGER,
    error   TEXT NOT NULL
) STRICT;

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, due, id);

-- Whether the program was stopped in order; else events of its last moments may be missing.
CREATE TABLE webhook_run (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    clean INTEGER NOT NULL
) STRICT;
