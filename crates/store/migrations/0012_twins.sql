-- What is wanted of devices and what they tell of themselves. A device without either has no row.

CREATE TABLE twins (
    device           INTEGER PRIMARY KEY REFERENCES devices (number) ON DELETE CASCADE,
    desired          TEXT NOT NULL, -- a JSON object, as reported and dropped
    desired_version  INTEGER NOT NULL,
    desired_at       INTEGER,
    reported         TEXT NOT NULL,
    reported_version INTEGER NOT NULL,
    reported_at      INTEGER,
    dropped          TEXT NOT NULL, -- nulls for what is wanted no more and still reported
    acknowledged     INTEGER NOT NULL,
    owed             INTEGER NOT NULL
) STRICT;
CREATE INDEX twins_owed ON twins (device, desired_version) WHERE owed;

-- Each change of a twin. The oldest go when there are too many; see twins.rs.
CREATE TABLE twin_changes (
    device  INTEGER NOT NULL REFERENCES devices (number) ON DELETE CASCADE,
    part    INTEGER NOT NULL, -- 0 desired, 1 reported
    version INTEGER NOT NULL,
    place   INTEGER NOT NULL, -- both parts in one order
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    patch   TEXT NOT NULL,
    PRIMARY KEY (device, part, version)
) STRICT, WITHOUT ROWID;
