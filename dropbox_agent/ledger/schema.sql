-- The durable record. The states and their moves live here: a move that is not in the table `moves` is refused by a
-- trigger, and every move that happens is written to `history` by a trigger. Times are ISO 8601 text in UTC.

CREATE TABLE ledger (
    ledger_id TEXT NOT NULL,          -- written into each inbox's marker
    created   TEXT NOT NULL
);

CREATE TABLE moves (                  -- states.py has the same table; a test compares them
    kind       TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state   TEXT NOT NULL,
    PRIMARY KEY (kind, from_state, to_state)
) WITHOUT ROWID;

INSERT INTO moves VALUES
    ('drop',    'accepted',   'running'),   ('drop',    'accepted',  'succeeded'),
    ('drop',    'accepted',   'failed'),    ('drop',    'accepted',  'cancelled'),
    ('drop',    'running',    'succeeded'), ('drop',    'running',   'failed'),
    ('drop',    'running',    'cancelled'),
    ('job',     'accepted',   'running'),   ('job',     'accepted',  'succeeded'),
    ('job',     'accepted',   'failed'),    ('job',     'accepted',  'cancelled'),
    ('job',     'running',    'succeeded'), ('job',     'running',   'failed'),
    ('job',     'running',    'cancelled'),
    ('task',    'waiting',    'submitted'), ('task',    'waiting',   'succeeded'),
    ('task',    'waiting',    'skipped'),   ('task',    'waiting',   'cancelled'),
    ('task',    'submitted',  'running'),   ('task',    'submitted', 'succeeded'),
    ('task',    'submitted',  'failed'),    ('task',    'submitted', 'skipped'),
    ('task',    'submitted',  'cancelled'),
    ('task',    'running',    'succeeded'), ('task',    'running',   'failed'),
    ('task',    'running',    'skipped'),   ('task',    'running',   'cancelled'),
    ('attempt', 'submitting', 'submitted'), ('attempt', 'submitting', 'running'),
    ('attempt', 'submitting', 'ended'),     ('attempt', 'submitting', 'lost'),
    ('attempt', 'submitted',  'running'),   ('attempt', 'submitted', 'ended'),
    ('attempt', 'submitted',  'lost'),
    ('attempt', 'running',    'ended'),     ('attempt', 'running',   'lost'),
    -- Only with `retries` counted up, that is on an explicit order:
    ('drop retry', 'succeeded', 'running'), ('drop retry', 'failed',  'running'),
    ('drop retry', 'cancelled', 'running'),
    ('job retry',  'succeeded', 'running'), ('job retry',  'failed',  'running'),
    ('job retry',  'cancelled', 'running'),
    ('task retry', 'succeeded', 'waiting'), ('task retry', 'failed',  'waiting'),
    ('task retry', 'skipped',   'waiting'), ('task retry', 'cancelled', 'waiting');

CREATE TABLE history (
    history_id INTEGER PRIMARY KEY,
    at         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    from_state TEXT,                  -- NULL when it was made
    to_state   TEXT NOT NULL,
    message    TEXT
);
CREATE INDEX history_of ON history (kind, id);

CREATE TABLE drops (
    drop_id  INTEGER PRIMARY KEY,
    inbox    TEXT NOT NULL,
    name     TEXT NOT NULL,
    version  INTEGER NOT NULL,        -- 1 for the first content seen under this name
    sha256   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    owner    INTEGER NOT NULL,
    modified REAL NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('refused', 'accepted', 'running', 'succeeded', 'failed', 'cancelled')),
    problems TEXT NOT NULL,           -- JSON list
    noticed  TEXT NOT NULL,
    updated  TEXT NOT NULL,
    retries  INTEGER NOT NULL DEFAULT 0,
    note     TEXT,                    -- what came of the last order for it
    changes  INTEGER NOT NULL DEFAULT 1,  -- grows with everything that people should be told
    told     INTEGER NOT NULL DEFAULT 0,  -- the value of `changes` that stands beside the manifest
    tell_at  TEXT,                    -- not before this time (coalescing, back-off)
    tell_tries INTEGER NOT NULL DEFAULT 0,
    tell_error TEXT,
    UNIQUE (inbox, name, version)
);

CREATE INDEX drops_untold ON drops (drop_id) WHERE changes > told;

CREATE TABLE seen (                   -- what lay in an inbox when it was adopted and is to be left alone
    inbox  TEXT NOT NULL,
    name   TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (inbox, name, sha256)
) WITHOUT ROWID;

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

CREATE TABLE jobs (
    job_id      TEXT PRIMARY KEY,
    drop_id     INTEGER NOT NULL REFERENCES drops,
    position    INTEGER NOT NULL,     -- its place in the manifest, from 1
    row         INTEGER,              -- the row (line) it was written in
    bucket      TEXT NOT NULL,
    s3_prefix   TEXT NOT NULL,
    location    TEXT NOT NULL,
    job_type    TEXT NOT NULL,
    project_name TEXT NOT NULL,
    subject_id  TEXT NOT NULL,
    acq_datetime TEXT NOT NULL,       -- as given, offset kept
    platform    TEXT,
    modalities  TEXT NOT NULL,        -- JSON list
    user_email  TEXT,
    email_types TEXT NOT NULL,        -- JSON list
    plan        TEXT NOT NULL,        -- JSON, see plan.to_json
    state       TEXT NOT NULL CHECK (state IN ('accepted', 'running', 'succeeded', 'failed', 'cancelled')),
    retries     INTEGER NOT NULL DEFAULT 0,
    created     TEXT NOT NULL,
    started     TEXT,
    ended       TEXT,
    updated     TEXT NOT NULL,
    UNIQUE (drop_id, position)
);
-- Two uploads to one place at one time are impossible, whatever the code above does.
CREATE UNIQUE INDEX one_live_job_per_asset ON jobs (location) WHERE state IN ('accepted', 'running');
-- Lists of jobs are read from here: a job's row also has its plan, which is long, and a list of 100,000 jobs must not
-- read 100,000 plans.
CREATE INDEX jobs_listed ON jobs (created DESC, position, job_id, state, s3_prefix, subject_id, project_name, job_type,
    modalities, user_email, drop_id, platform, bucket, acq_datetime, started, ended, row);
CREATE INDEX jobs_of_drop ON jobs (drop_id, state);

CREATE TABLE tasks (
    job_id     TEXT NOT NULL REFERENCES jobs,
    key        TEXT NOT NULL,
    position   INTEGER NOT NULL,
    task_id    TEXT NOT NULL,
    modality   TEXT,
    allocation INTEGER,               -- NULL: done by the agent, or skipped
    state      TEXT NOT NULL CHECK (state IN
                   ('waiting', 'submitted', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')),
    attempt    INTEGER NOT NULL DEFAULT 0,
    retries    INTEGER NOT NULL DEFAULT 0,
    started    TEXT,
    ended      TEXT,
    message    TEXT,
    log        TEXT,
    exit_code  INTEGER,
    progress   TEXT,                  -- JSON
    updated    TEXT NOT NULL,
    PRIMARY KEY (job_id, key)
) WITHOUT ROWID;

CREATE INDEX tasks_waiting ON tasks (job_id, allocation) WHERE state = 'waiting' AND allocation IS NOT NULL;

CREATE TABLE needs (
    job_id TEXT NOT NULL,
    key    TEXT NOT NULL,
    needed TEXT NOT NULL,             -- key of a task that must have ended well first
    PRIMARY KEY (job_id, key, needed),
    FOREIGN KEY (job_id, key) REFERENCES tasks,
    FOREIGN KEY (job_id, needed) REFERENCES tasks (job_id, key)
) WITHOUT ROWID;

CREATE TABLE attempts (
    attempt_key TEXT PRIMARY KEY,
    job_id      TEXT NOT NULL REFERENCES jobs,
    allocation  INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('submitting', 'submitted', 'running', 'ended', 'lost')),
    handle      TEXT,
    created     TEXT NOT NULL,        -- the intent, written before the executor is asked
    submitted   TEXT,
    first_missing TEXT,
    tries       INTEGER NOT NULL DEFAULT 0,  -- times the executor refused it
    try_at      TEXT,                 -- not before this time; of one that has ended: the one after it
    message     TEXT,
    stop_at     TEXT,                 -- since when it is to be ended
    updated     TEXT NOT NULL,
    UNIQUE (job_id, allocation, number)
);
-- An allocation has at most one attempt that may still run.
CREATE UNIQUE INDEX one_live_attempt ON attempts (job_id, allocation)
    WHERE state IN ('submitting', 'submitted', 'running');

-- What is known of an attempt besides its state: what it asks for, why it ended, what it took. One row for each attempt,
-- made with it or, for an older one, when there is something to say.
CREATE TABLE attempt_facts (
    attempt_key TEXT PRIMARY KEY REFERENCES attempts,
    turn        INTEGER NOT NULL DEFAULT 0,  -- how often its job had been run again on an order
    resources   TEXT,                 -- JSON: what it asks for instead of what its tasks do
    cause       TEXT,                 -- why it ended, where that is not its tasks' own doing
    again       TEXT,                 -- JSON: what the attempt after it asks for
    node        TEXT,                 -- where it ran
    elapsed_seconds REAL,
    max_rss_bytes INTEGER,
    log_end     TEXT                  -- the last lines of the log of the task it failed in
) WITHOUT ROWID;

-- What an upload stored, file by file: kept here too, for run folders do not stay, and buckets are not ours alone.
CREATE TABLE inventories (
    job_id  TEXT PRIMARY KEY REFERENCES jobs,
    sha256  TEXT NOT NULL,            -- of the inventory as it is in the bucket
    content BLOB NOT NULL,            -- the same, packed by zlib
    kept    TEXT NOT NULL
);

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

CREATE TABLE outbox (
    mail_id INTEGER PRIMARY KEY,
    drop_id INTEGER NOT NULL REFERENCES drops,
    number  INTEGER NOT NULL,         -- the NN of NAME.NN-kind.eml, over all versions of the manifest
    kind    TEXT NOT NULL CHECK (kind IN ('begin', 'end', 'fail', 'retry', 'refused')),
    job_id  TEXT REFERENCES jobs,
    recipient TEXT NOT NULL,
    turn    INTEGER NOT NULL DEFAULT 0,  -- how often its job had been run again
    created TEXT NOT NULL,
    sent    TEXT,
    send_at TEXT,                     -- not before this time (back-off)
    tries   INTEGER NOT NULL DEFAULT 0,
    error   TEXT,
    UNIQUE (drop_id, number)
);
CREATE INDEX outbox_unsent ON outbox (mail_id) WHERE sent IS NULL;
-- One mail of a kind to one person about one job, however often the step that writes it is repeated.
CREATE UNIQUE INDEX one_mail_of_a_kind ON outbox (drop_id, ifnull(job_id, ''), kind, recipient, turn);

-- What may be handed to an executor now: allocations in which nothing has started, whose outside needs have all
-- ended well, and which no living attempt holds.
CREATE VIEW ready AS
SELECT jobs.job_id, waiting.allocation, jobs.created, jobs.position
  FROM (SELECT job_id, allocation FROM tasks
         WHERE state = 'waiting' AND allocation IS NOT NULL GROUP BY job_id, allocation) AS waiting
  JOIN jobs ON jobs.job_id = waiting.job_id AND jobs.state IN ('accepted', 'running')
 WHERE NOT EXISTS (
           SELECT 1 FROM tasks AS inside
             JOIN needs ON needs.job_id = inside.job_id AND needs.key = inside.key
             JOIN tasks AS needed ON needed.job_id = needs.job_id AND needed.key = needs.needed
            WHERE inside.job_id = waiting.job_id AND inside.allocation = waiting.allocation
              AND needed.allocation IS NOT inside.allocation
              AND needed.state NOT IN ('succeeded', 'skipped'))
   AND NOT EXISTS (
           SELECT 1 FROM attempts
            WHERE attempts.job_id = waiting.job_id AND attempts.allocation = waiting.allocation
              AND attempts.state IN ('submitting', 'submitted', 'running'))
 ORDER BY jobs.created, jobs.drop_id, jobs.position, waiting.allocation;

-- Waiting tasks that can no longer run because something they need ended badly. While the attempt in which it did so may
-- still run, that is not the last word: what ended badly may be run again.
CREATE VIEW unreachable AS
SELECT tasks.job_id, tasks.key, min(needed.key) AS because
  FROM tasks
  JOIN needs ON needs.job_id = tasks.job_id AND needs.key = tasks.key
  JOIN tasks AS needed ON needed.job_id = needs.job_id AND needed.key = needs.needed
 WHERE tasks.state IN ('waiting', 'submitted') AND needed.state IN ('failed', 'cancelled')
   AND NOT EXISTS (
           SELECT 1 FROM attempts
            WHERE attempts.job_id = needed.job_id AND attempts.allocation = needed.allocation
              AND attempts.number = needed.attempt AND attempts.state IN ('submitting', 'submitted', 'running'))
 GROUP BY tasks.job_id, tasks.key;

CREATE TRIGGER drop_made AFTER INSERT ON drops BEGIN
    INSERT INTO history (at, kind, id, to_state) VALUES (NEW.updated, 'drop', NEW.drop_id, NEW.state);
END;
CREATE TRIGGER drop_moves BEFORE UPDATE OF state ON drops WHEN NEW.state <> OLD.state BEGIN
    SELECT RAISE(ABORT, 'a drop may not make this move')
     WHERE NOT EXISTS (SELECT 1 FROM moves WHERE from_state = OLD.state AND to_state = NEW.state
                       AND (kind = 'drop' OR (kind = 'drop retry' AND NEW.retries > OLD.retries)));
    INSERT INTO history (at, kind, id, from_state, to_state)
         VALUES (NEW.updated, 'drop', NEW.drop_id, OLD.state, NEW.state);
END;
CREATE TRIGGER job_made AFTER INSERT ON jobs BEGIN
    INSERT INTO history (at, kind, id, to_state) VALUES (NEW.updated, 'job', NEW.job_id, NEW.state);
END;
CREATE TRIGGER job_moves BEFORE UPDATE OF state ON jobs WHEN NEW.state <> OLD.state BEGIN
    SELECT RAISE(ABORT, 'a job may not make this move')
     WHERE NOT EXISTS (SELECT 1 FROM moves WHERE from_state = OLD.state AND to_state = NEW.state
                       AND (kind = 'job' OR (kind = 'job retry' AND NEW.retries > OLD.retries)));
    INSERT INTO history (at, kind, id, from_state, to_state)
         VALUES (NEW.updated, 'job', NEW.job_id, OLD.state, NEW.state);
END;
CREATE TRIGGER task_moves BEFORE UPDATE OF state ON tasks WHEN NEW.state <> OLD.state BEGIN
    SELECT RAISE(ABORT, 'a task may not make this move')
     WHERE NOT EXISTS (SELECT 1 FROM moves WHERE from_state = OLD.state AND to_state = NEW.state
                       AND (kind = 'task' OR (kind = 'task retry' AND NEW.retries > OLD.retries)));
    INSERT INTO history (at, kind, id, from_state, to_state, message)
         VALUES (NEW.updated, 'task', NEW.job_id || '/' || NEW.key, OLD.state, NEW.state, NEW.message);
END;
CREATE TRIGGER attempt_made AFTER INSERT ON attempts BEGIN
    INSERT INTO history (at, kind, id, to_state) VALUES (NEW.updated, 'attempt', NEW.attempt_key, NEW.state);
END;
CREATE TRIGGER attempt_moves BEFORE UPDATE OF state ON attempts WHEN NEW.state <> OLD.state BEGIN
    SELECT RAISE(ABORT, 'an attempt may not make this move')
     WHERE NOT EXISTS (SELECT 1 FROM moves WHERE kind = 'attempt' AND from_state = OLD.state AND to_state = NEW.state);
    INSERT INTO history (at, kind, id, from_state, to_state, message)
         VALUES (NEW.updated, 'attempt', NEW.attempt_key, OLD.state, NEW.state, NEW.message);
END;

-- Everything that people should be told makes the drop's `changes` grow.
CREATE TRIGGER task_told AFTER UPDATE OF state, message, progress, started, ended ON tasks
WHEN NEW.state IS NOT OLD.state OR NEW.message IS NOT OLD.message OR NEW.progress IS NOT OLD.progress
  OR NEW.started IS NOT OLD.started OR NEW.ended IS NOT OLD.ended BEGIN
    UPDATE drops SET changes = changes + 1, updated = NEW.updated
     WHERE drop_id = (SELECT drop_id FROM jobs WHERE job_id = NEW.job_id);
END;
CREATE TRIGGER facts_told AFTER UPDATE ON attempt_facts
WHEN NEW.node IS NOT OLD.node OR NEW.elapsed_seconds IS NOT OLD.elapsed_seconds
  OR NEW.max_rss_bytes IS NOT OLD.max_rss_bytes OR NEW.log_end IS NOT OLD.log_end BEGIN
    UPDATE drops SET changes = changes + 1
     WHERE drop_id = (SELECT drop_id FROM jobs JOIN attempts USING (job_id) WHERE attempt_key = NEW.attempt_key);
END;
CREATE TRIGGER job_told AFTER UPDATE OF state ON jobs WHEN NEW.state <> OLD.state BEGIN
    UPDATE drops SET changes = changes + 1, updated = NEW.updated WHERE drop_id = NEW.drop_id;
END;
CREATE TRIGGER drop_told AFTER UPDATE OF state, note ON drops
WHEN NEW.state <> OLD.state OR NEW.note IS NOT OLD.note BEGIN
    UPDATE drops SET changes = changes + 1 WHERE drop_id = NEW.drop_id;
END;
-- What is written in the history stays written.
CREATE TRIGGER history_stays BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history is never changed'); END;
