-- The devices of a push that wait for their deliveries to be made, a batch to a row. A row goes with its
-- batch, in the same transaction; so a push to many is kept as a whole at once, and is made in parts.

CREATE TABLE audiences (
    push      INTEGER NOT NULL REFERENCES pushes (id),
    part      INTEGER NOT NULL,
    cancelled INTEGER NOT NULL, -- the push was taken back meanwhile
    devices   BLOB NOT NULL,    -- numbers, four bytes each, little endian
    PRIMARY KEY (push, part)
) STRICT, WITHOUT ROWID;
