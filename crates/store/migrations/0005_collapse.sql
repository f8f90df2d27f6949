-- The collapse key of a push: a newer push with the same key replaces what still waits for a device.
ALTER TABLE pushes ADD COLUMN collapse TEXT;
