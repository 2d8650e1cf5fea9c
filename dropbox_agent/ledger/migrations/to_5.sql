-- What an upload stored, file by file: kept here too, for run folders do not stay, and buckets are not ours alone.
CREATE TABLE inventories (
    job_id  TEXT PRIMARY KEY REFERENCES jobs,
    sha256  TEXT NOT NULL,            -- of the inventory as it is in the bucket
    content BLOB NOT NULL,            -- the same, packed by zlib
    kept    TEXT NOT NULL
);
