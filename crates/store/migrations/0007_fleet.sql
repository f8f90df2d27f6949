-- What few devices have. Apart from devices, whose rows are read and written whole and often.

-- Devices that are not let in until their owner says otherwise.
CREATE TABLE blocked (
    device INTEGER PRIMARY KEY REFERENCES devices (number) ON DELETE CASCADE
) STRICT;
