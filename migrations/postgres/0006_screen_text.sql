-- What stood on the screens of sessions, in pieces of a few lines: to find recordings by. Never evidence; may be erased and made again.

CREATE TABLE screen_texts (
    id      BIGINT PRIMARY KEY NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (id),
    channel BIGINT NOT NULL,
    -- Lines, and in the same order their times since the recording's beginning, joined with line feeds.
    body    TEXT NOT NULL,
    times   TEXT NOT NULL
);

CREATE INDEX screen_texts_by_session ON screen_texts (session);

-- Which three characters follow one another in each piece, each three as a number. SQLite has a table of this name, too.
CREATE TABLE screen_grams (
    id    BIGINT PRIMARY KEY NOT NULL REFERENCES screen_texts (id) ON DELETE CASCADE,
    grams INTEGER[] NOT NULL
);

CREATE INDEX screen_grams_by_gram ON screen_grams USING gin (grams);
