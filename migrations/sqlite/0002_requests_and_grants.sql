-- A request may ask for more time of a grant, which keeps its id; an approval may carry a signature.

ALTER TABLE requests ADD COLUMN extends TEXT REFERENCES grants (id);

-- One pending request for a new grant of the same user, host and login is enough, and one for more time of each grant.
DROP INDEX requests_one_pending;
CREATE UNIQUE INDEX requests_one_pending ON requests (user_name, host, login) WHERE state = 'pending' AND extends IS NULL;
CREATE UNIQUE INDEX requests_one_extension ON requests (extends) WHERE state = 'pending' AND extends IS NOT NULL;

-- The signature as it was given (the SSHSIG blob), in base64.
ALTER TABLE approvals ADD COLUMN signature TEXT;

-- How often its holder has taken more time alone.
ALTER TABLE grants ADD COLUMN extended INTEGER NOT NULL DEFAULT 0;
