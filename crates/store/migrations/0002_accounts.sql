-- Broker accounts: who uses espush as a plain MQTT broker.

CREATE TABLE accounts (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL, -- a password hash that names its method; empty when nobody can log in by one
    rules    TEXT NOT NULL, -- JSON array of lines
    created  INTEGER NOT NULL
) STRICT;
