-- Each policy that a node has had in force, word for word: what a digest in the log stands for.

CREATE TABLE policies (
    node      TEXT NOT NULL,
    digest    TEXT NOT NULL,
    body      TEXT NOT NULL,
    -- When it last came into force.
    loaded_at INTEGER NOT NULL,
    PRIMARY KEY (node, digest)
) STRICT;
