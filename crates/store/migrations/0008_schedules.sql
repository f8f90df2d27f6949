-- Pushes that recur, and what became of each of their moments.

CREATE TABLE schedules (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    push    TEXT NOT NULL,    -- JSON as the sender wrote it
    due     TEXT NOT NULL,    -- JSON as the sender wrote it
    sender  TEXT NOT NULL,
    paused  INTEGER NOT NULL,
    grace_s INTEGER NOT NULL,
    created INTEGER NOT NULL,
    done    INTEGER NOT NULL  -- up to which moment everything is dealt with
) STRICT;

CREATE TABLE runs (
    schedule INTEGER NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL, -- the moment that it was for
    ran      INTEGER NOT NULL, -- when it was dealt with
    push     INTEGER,
    missed   INTEGER NOT NULL, -- from this moment on so many were missed; 0 for a run
    detail   TEXT NOT NULL,
    PRIMARY KEY (schedule, at)
) STRICT, WITHOUT ROWID;
