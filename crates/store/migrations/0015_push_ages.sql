-- Which pushes are old enough to go, without reading payloads. See prune in pushes.rs.
CREATE INDEX pushes_created ON pushes (created);
