-- Bytes towards the client that sessions have taken under a grant whose rule sets a limit: passed, or set aside for a session that is
-- live. What a killed session had set aside stays taken.
CREATE TABLE egress (
    grant_id TEXT PRIMARY KEY NOT NULL REFERENCES grants (id),
    taken    INTEGER NOT NULL
) STRICT;
