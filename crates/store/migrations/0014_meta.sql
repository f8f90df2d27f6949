-- What owners wrote down about devices beside their names. Most have nothing, and no row.
CREATE TABLE device_meta (
    device INTEGER PRIMARY KEY REFERENCES devices (number) ON DELETE CASCADE,
    meta   TEXT NOT NULL -- JSON object of texts, numbers and truth values
) STRICT;
