-- What a token may do within its role, and on which devices. Nothing: all that its role may.
ALTER TABLE tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT ''; -- words with blanks between
ALTER TABLE tokens ADD COLUMN query TEXT NOT NULL DEFAULT '';  -- only devices that it fits
-- It has run out, and stays so whatever becomes of the clock; remembered for a while, to say so to whoever shows it.
ALTER TABLE tokens ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
