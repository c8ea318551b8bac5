-- Looks at what access stands on a host without the bastion: recorded like sessions, under ids like theirs, without a grant.

CREATE TABLE host_audits (
    session    TEXT PRIMARY KEY NOT NULL,
    node       TEXT NOT NULL,
    host       TEXT NOT NULL,
    login      TEXT NOT NULL,
    actor      TEXT NOT NULL,
    note       TEXT REFERENCES texts (id),
    serial     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    -- Null while it goes on.
    ended_at   INTEGER,
    ending     TEXT,
    -- Where its recording lies, below the recordings' root, and the SHA-256 of the manifest.
    folder     TEXT,
    manifest   TEXT,
    recordings INTEGER NOT NULL,
    -- Keys that stood in authorized_keys, and what could not be read; null where the host's answer made no sense.
    standing   INTEGER,
    unread     INTEGER
) STRICT;

CREATE INDEX host_audits_by_host ON host_audits (host, started_at);
