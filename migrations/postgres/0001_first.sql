-- The first shape of the store. Times are microseconds since 1970 in UTC; ids and names are text; free text that a person typed lies
-- in `texts` alone, found by its commitment, so that it can be erased without touching anything else.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

INSERT INTO meta (name, value) VALUES ('instance', replace(CAST(gen_random_uuid() AS TEXT), '-', ''));

CREATE TABLE sealed_keys (
    name       TEXT PRIMARY KEY NOT NULL,
    sealed     TEXT NOT NULL,
    version    BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE texts (
    id   TEXT PRIMARY KEY NOT NULL,
    salt TEXT NOT NULL,
    body TEXT
);

CREATE TABLE users (
    name        TEXT PRIMARY KEY NOT NULL,
    vendor      TEXT,
    added_at    BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE user_roles (
    user_name TEXT NOT NULL REFERENCES users (name),
    role      TEXT NOT NULL,
    PRIMARY KEY (user_name, role)
);

CREATE TABLE user_keys (
    fingerprint    TEXT PRIMARY KEY NOT NULL,
    user_name      TEXT NOT NULL REFERENCES users (name),
    authorized_key TEXT NOT NULL,
    name           TEXT NOT NULL,
    added_at       BIGINT NOT NULL,
    last_used      BIGINT
);

CREATE INDEX user_keys_by_user ON user_keys (user_name);

CREATE TABLE hosts (
    name         TEXT PRIMARY KEY NOT NULL,
    address      TEXT NOT NULL,
    port         BIGINT NOT NULL,
    added_at     BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL
);

CREATE INDEX hosts_by_address ON hosts (address, port);

-- Every name that leads to a host, its own (position 0) and its aliases: one namespace.
CREATE TABLE host_names (
    name     TEXT PRIMARY KEY NOT NULL,
    host     TEXT NOT NULL REFERENCES hosts (name),
    position BIGINT NOT NULL,
    UNIQUE (host, position)
);

CREATE TABLE host_trust (
    host     TEXT NOT NULL REFERENCES hosts (name),
    position BIGINT NOT NULL,
    line     TEXT NOT NULL,
    PRIMARY KEY (host, position)
);

CREATE TABLE host_labels (
    host  TEXT NOT NULL REFERENCES hosts (name),
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (host, label)
);

CREATE TABLE host_logins (
    host     TEXT NOT NULL REFERENCES hosts (name),
    position BIGINT NOT NULL,
    login    TEXT NOT NULL,
    PRIMARY KEY (host, position),
    UNIQUE (host, login)
);

CREATE TABLE requests (
    id         TEXT PRIMARY KEY NOT NULL,
    user_name  TEXT NOT NULL,
    host       TEXT NOT NULL,
    login      TEXT NOT NULL,
    channels   TEXT NOT NULL,
    -- Null: from the approval on.
    begins_at  BIGINT,
    length     BIGINT NOT NULL,
    reason     TEXT NOT NULL REFERENCES texts (id),
    ticket     TEXT,
    -- The rule that bound when it was filed, with the policy's digest: JSON.
    rule       TEXT NOT NULL,
    filed_at   BIGINT NOT NULL,
    lapses_at  BIGINT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'withdrawn', 'lapsed')),
    settled_at BIGINT,
    version    BIGINT NOT NULL
);

CREATE INDEX requests_by_time ON requests (filed_at);
CREATE INDEX requests_by_user ON requests (user_name, filed_at);
CREATE INDEX requests_pending ON requests (lapses_at) WHERE state = 'pending';
-- One pending request for the same user, host and login is enough.
CREATE UNIQUE INDEX requests_one_pending ON requests (user_name, host, login) WHERE state = 'pending';

-- Who may decide, as the bound rule names them: *, role:NAME, user:NAME, vendor:NAME, vendor:*.
CREATE TABLE request_deciders (
    request TEXT NOT NULL REFERENCES requests (id),
    who     TEXT NOT NULL,
    PRIMARY KEY (request, who)
);

CREATE TABLE approvals (
    request   TEXT NOT NULL REFERENCES requests (id),
    user_name TEXT NOT NULL,
    position  BIGINT NOT NULL,
    verdict   TEXT NOT NULL CHECK (verdict IN ('yes', 'no')),
    note      TEXT REFERENCES texts (id),
    length    BIGINT,
    channels  TEXT,
    at        BIGINT NOT NULL,
    PRIMARY KEY (request, position),
    UNIQUE (request, user_name, verdict)
);

CREATE INDEX approvals_by_user ON approvals (user_name, at);

CREATE TABLE grants (
    id         TEXT PRIMARY KEY NOT NULL,
    request    TEXT NOT NULL UNIQUE REFERENCES requests (id),
    user_name  TEXT NOT NULL,
    host       TEXT NOT NULL,
    login      TEXT NOT NULL,
    channels   TEXT NOT NULL,
    begins_at  BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    granted_at BIGINT NOT NULL,
    rule       TEXT NOT NULL,
    -- 'open' is waiting or active, as the clock says.
    state      TEXT NOT NULL CHECK (state IN ('open', 'ended', 'closed', 'revoked')),
    settled_at BIGINT,
    settled_by TEXT,
    note       TEXT REFERENCES texts (id)
);

CREATE INDEX grants_by_user ON grants (user_name, host);
CREATE INDEX grants_open ON grants (ends_at) WHERE state = 'open';

CREATE TABLE sessions (
    id             TEXT PRIMARY KEY NOT NULL,
    node           TEXT NOT NULL,
    grant_id       TEXT NOT NULL REFERENCES grants (id),
    request        TEXT NOT NULL REFERENCES requests (id),
    user_name      TEXT NOT NULL,
    host           TEXT NOT NULL,
    login          TEXT NOT NULL,
    rule           TEXT NOT NULL,
    client         TEXT NOT NULL,
    -- Fingerprint of the key that proved the user: when it is theirs no more, the session falls.
    user_key       TEXT NOT NULL,
    serial         TEXT NOT NULL,
    started_at     BIGINT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('live', 'ended')),
    killed_at      BIGINT,
    ended_at       BIGINT,
    ending         TEXT,
    late_host_ms   BIGINT,
    late_client_ms BIGINT,
    -- Where its recordings lie, below the recordings' root, and the SHA-256 of their manifest.
    folder         TEXT,
    manifest       TEXT
);

CREATE INDEX sessions_by_start ON sessions (started_at);
CREATE INDEX sessions_live ON sessions (node) WHERE state = 'live';

CREATE TABLE channels (
    session  TEXT NOT NULL REFERENCES sessions (id),
    number   BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    command  TEXT,
    file     TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    bytes    BIGINT NOT NULL,
    duration BIGINT NOT NULL,
    PRIMARY KEY (session, number)
);

-- The audit log: canonical bytes verbatim, dense from 0 for each node.
CREATE TABLE events (
    node TEXT NOT NULL,
    seq  BIGINT NOT NULL,
    time BIGINT NOT NULL,
    name TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (node, seq)
);

CREATE INDEX events_by_time ON events (time);

-- Hashes of the perfect subtrees of each node's tree (RFC 6962), level 0 being the leaves.
CREATE TABLE tree (
    node  TEXT NOT NULL,
    level BIGINT NOT NULL,
    idx   BIGINT NOT NULL,
    hash  TEXT NOT NULL,
    PRIMARY KEY (node, level, idx)
);

-- How far each node's log has come: what the next append needs to know.
CREATE TABLE heads (
    node TEXT PRIMARY KEY NOT NULL,
    size BIGINT NOT NULL,
    time BIGINT NOT NULL,
    -- The roots of the perfect subtrees, largest first, joined with commas.
    edge TEXT NOT NULL
);

CREATE TABLE checkpoints (
    node TEXT NOT NULL,
    size BIGINT NOT NULL,
    time BIGINT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (node, size)
);
