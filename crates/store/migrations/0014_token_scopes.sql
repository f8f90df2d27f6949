-- What a token may do within its role, and on which devices. Nothing: all that its role may.
ALTER TABLE tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT ''; -- words with blanks between
ALTER TABLE tokens ADD COLUMN query TEXT NOT NULL DEFAULT '';  -- only devices that it fits
