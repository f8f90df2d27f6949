-- How many devices a second are given a push for the first time, and when that begins.
ALTER TABLE pushes ADD COLUMN per_second INTEGER;
ALTER TABLE pushes ADD COLUMN starts INTEGER;
