//! The embedded store: one SQLite database in one data directory.
