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

CREATE TRIGGER facts_told AFTER UPDATE ON attempt_facts
WHEN NEW.node IS NOT OLD.node OR NEW.elapsed_seconds IS NOT OLD.elapsed_seconds
  OR NEW.max_rss_bytes IS NOT OLD.max_rss_bytes OR NEW.log_end IS NOT OLD.log_end BEGIN
    UPDATE drops SET changes = changes + 1
     WHERE drop_id = (SELECT drop_id FROM jobs JOIN attempts USING (job_id) WHERE attempt_key = NEW.attempt_key);
END;
