-- Which of what waits for a device goes first: 0 high, 1 normal, 2 low.
ALTER TABLE pushes ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;
