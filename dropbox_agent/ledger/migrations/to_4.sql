-- Which folder an inbox is: its marker has the id, so a folder whose path changes keeps what is known of its files.
CREATE TABLE inboxes (
    inbox_id TEXT PRIMARY KEY,
    path     TEXT NOT NULL UNIQUE
) WITHOUT ROWID;

-- Files of which is told, in a status beside them, that they are waited for. Written down before they are told.
CREATE TABLE settling (
    inbox TEXT NOT NULL,
    name  TEXT NOT NULL,
    PRIMARY KEY (inbox, name)
) WITHOUT ROWID;
