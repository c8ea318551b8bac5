-- What stood on the screens of sessions, in pieces of a few lines: to find recordings by. Never evidence; may be erased and made again.

CREATE TABLE screen_texts (
    id      INTEGER PRIMARY KEY NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (id),
    channel INTEGER NOT NULL,
    -- Lines, and in the same order their times since the recording's beginning, joined with line feeds.
    body    TEXT NOT NULL,
    times   TEXT NOT NULL
) STRICT;

CREATE INDEX screen_texts_by_session ON screen_texts (session);

-- Which three characters follow one another in each piece. PostgreSQL has a table of this name, too.
CREATE VIRTUAL TABLE screen_grams USING fts5 (folded, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1');
