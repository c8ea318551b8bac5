-- Roles and accounts that begin and end, keys that are offered with an invitation, and what approvers are told.

-- A vendor's contract: from here on the account may do nothing.
ALTER TABLE users ADD COLUMN ends_at BIGINT;
-- What was said when it was disabled.
ALTER TABLE users ADD COLUMN disabled_note TEXT REFERENCES texts (id);

-- In force from begins_at (null: always was) until before ends_at (null: without an end).
ALTER TABLE user_roles ADD COLUMN begins_at BIGINT;
ALTER TABLE user_roles ADD COLUMN ends_at BIGINT;

-- What somebody is told when they look next. Seen ones are kept for the personal page.
CREATE TABLE notices (
    user_name TEXT NOT NULL REFERENCES users (name),
    at        BIGINT NOT NULL,
    body      TEXT NOT NULL,
    seen_at   BIGINT,
    PRIMARY KEY (user_name, at, body)
);

CREATE TABLE invites (
    -- The public part of its code.
    id             TEXT PRIMARY KEY NOT NULL,
    user_name      TEXT NOT NULL REFERENCES users (name),
    -- argon2id over the secret part, as a PHC string.
    hash           TEXT NOT NULL,
    -- The user who may confirm beside the administrators.
    sponsor        TEXT REFERENCES users (name),
    made_at        BIGINT NOT NULL,
    made_by        TEXT NOT NULL,
    ends_at        BIGINT NOT NULL,
    attempts       BIGINT NOT NULL,
    -- 'open' waits for a key, 'offered' for a confirmation.
    state          TEXT NOT NULL CHECK (state IN ('open', 'offered', 'confirmed', 'refused', 'withdrawn', 'lapsed', 'barred')),
    fingerprint    TEXT,
    authorized_key TEXT,
    offered_at     BIGINT,
    client         TEXT,
    settled_at     BIGINT
);

-- One that goes on is enough for a user.
CREATE UNIQUE INDEX invites_one_open ON invites (user_name) WHERE state IN ('open', 'offered');
