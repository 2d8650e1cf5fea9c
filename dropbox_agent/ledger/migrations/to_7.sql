-- What people ordered by a file beside a manifest. Written down before that file is removed, carried out once it is gone.
CREATE TABLE asked (
    inbox    TEXT NOT NULL,
    file     TEXT NOT NULL,           -- NAME.retry or NAME.cancel
    manifest TEXT NOT NULL,
    act      TEXT NOT NULL CHECK (act IN ('retry', 'cancel')),
    at       TEXT NOT NULL,
    PRIMARY KEY (inbox, file)
) WITHOUT ROWID;

-- Which orders in files on the agent's own disk were carried out: one that outlives a crash is not once more.
CREATE TABLE orders (
    name TEXT PRIMARY KEY,            -- of its file in state_dir/orders, without the ending
    done TEXT NOT NULL
) WITHOUT ROWID;
