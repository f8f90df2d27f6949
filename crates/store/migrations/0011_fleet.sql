-- What few devices have. Apart from devices, whose rows are read and written whole and often.

-- Devices that are not let in until their owner says otherwise.
CREATE TABLE blocked (
    device INTEGER PRIMARY KEY REFERENCES devices (number) ON DELETE CASCADE
) STRICT;

-- The secret that a device had before its newest, while it still works.
CREATE TABLE old_secrets (
    device      INTEGER PRIMARY KEY REFERENCES devices (number) ON DELETE CASCADE,
    secret      BLOB NOT NULL, -- sealed, as in devices
    secret_hash BLOB NOT NULL,
    until       INTEGER NOT NULL
) STRICT;

-- Queries under a name.
CREATE TABLE device_groups (
    name    TEXT PRIMARY KEY,
    query   TEXT NOT NULL, -- as its owner wrote it
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who changed what. The oldest go when there are too many; see audit.rs.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    token   INTEGER,       -- none for the bootstrap token
    role    TEXT NOT NULL,
    remote  TEXT NOT NULL,
    call    TEXT NOT NULL,
    target  TEXT NOT NULL,
    fields  TEXT NOT NULL, -- JSON array of texts
    status  INTEGER NOT NULL,
    code    TEXT NOT NULL
) STRICT;
