-- How the text of a session stands in the index. Pieces of an earlier generation are taken no more: somebody writes it anew, or it was erased.
CREATE TABLE screen_index (
    session    TEXT PRIMARY KEY NOT NULL REFERENCES sessions (id),
    generation BIGINT NOT NULL,
    -- None may come in again, unless somebody asks for this very session.
    erased_at  BIGINT
);
