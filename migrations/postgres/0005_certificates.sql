-- Access certificates that were signed. One opens the bastion only while its row is here, so a stolen authority alone opens nothing.
-- serial: decimal. user_key: fingerprint of the certified key. authority: fingerprint of the access CA that signed. Times: microseconds.
CREATE TABLE access_certificates (
    serial    TEXT PRIMARY KEY NOT NULL,
    grant_id  TEXT NOT NULL REFERENCES grants (id),
    user_name TEXT NOT NULL,
    user_key  TEXT NOT NULL,
    authority TEXT NOT NULL,
    begins_at BIGINT NOT NULL,
    ends_at   BIGINT NOT NULL,
    issued_at BIGINT NOT NULL
);

CREATE INDEX access_certificates_by_grant ON access_certificates (grant_id);
