-- The states that a delivery was in before, a line each: number, time, why. NULL until the first change.
ALTER TABLE deliveries ADD COLUMN steps TEXT;
