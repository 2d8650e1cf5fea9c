PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
    try_at      TEXT,                 -- not before this time
    message     TEXT,
    stop_at     TEXT,                 -- since when it is to be ended
    updated     TEXT NOT NULL,
    UNIQUE (job_id, allocation, number)
);
INSERT INTO "attempts" VALUES('dbx-nr5hwieuxjt253kdpyur','0012_2026-01-31_12-00-00.l7omhv',1,1,'ended','handle','2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',NULL,0,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "attempts" VALUES('dbx-z5ytg5s2ordki5keibui','0013_2026-01-31_12-00-00.l7omhv',1,1,'ended','handle','2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',NULL,0,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "attempts" VALUES('dbx-w3iju4674nkyztmwpdrl','0012_2026-01-31_12-00-00.l7omhv',2,1,'submitted','slurm:4711:dbx-w3iju4674nkyztmwpdrl','2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',NULL,0,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "attempts" VALUES('dbx-4rgtavxtukzzzhqv2w7t','0012_2026-01-31_12-00-00.l7omhv',3,1,'submitting',NULL,'2026-01-31T12:00:00.000000Z',NULL,NULL,0,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
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
INSERT INTO "drops" VALUES(1,'/inbox','a.csv',1,'1111111111111111111111111111111111111111111111111111111111111111',3,1000,1.0,'running','[]','2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',0,NULL,16,0,NULL,0,NULL);
INSERT INTO "drops" VALUES(2,'/inbox','b.csv',1,'2222222222222222222222222222222222222222222222222222222222222222',3,1000,1.0,'accepted','[]','2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',0,NULL,2,0,NULL,0,NULL);
CREATE TABLE history (
    history_id INTEGER PRIMARY KEY,
    at         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    from_state TEXT,                  -- NULL when it was made
    to_state   TEXT NOT NULL,
    message    TEXT
);
INSERT INTO "history" VALUES(1,'2026-01-31T12:00:00.000000Z','drop','1',NULL,'accepted',NULL);
INSERT INTO "history" VALUES(2,'2026-01-31T12:00:00.000000Z','job','0012_2026-01-31_12-00-00.l7omhv',NULL,'accepted',NULL);
INSERT INTO "history" VALUES(3,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/send_job_start_email','waiting','succeeded','To a@b.org.');
INSERT INTO "history" VALUES(4,'2026-01-31T12:00:00.000000Z','job','0013_2026-01-31_12-00-00.l7omhv',NULL,'accepted',NULL);
INSERT INTO "history" VALUES(5,'2026-01-31T12:00:00.000000Z','task','0013_2026-01-31_12-00-00.l7omhv/send_job_start_email','waiting','succeeded','To a@b.org.');
INSERT INTO "history" VALUES(6,'2026-01-31T12:00:00.000000Z','attempt','dbx-nr5hwieuxjt253kdpyur',NULL,'submitting',NULL);
INSERT INTO "history" VALUES(7,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/check_s3_folder_exists','waiting','submitted',NULL);
INSERT INTO "history" VALUES(8,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/create_staging_folder','waiting','submitted',NULL);
INSERT INTO "history" VALUES(9,'2026-01-31T12:00:00.000000Z','job','0012_2026-01-31_12-00-00.l7omhv','accepted','running',NULL);
INSERT INTO "history" VALUES(10,'2026-01-31T12:00:00.000000Z','drop','1','accepted','running',NULL);
INSERT INTO "history" VALUES(11,'2026-01-31T12:00:00.000000Z','attempt','dbx-z5ytg5s2ordki5keibui',NULL,'submitting',NULL);
INSERT INTO "history" VALUES(12,'2026-01-31T12:00:00.000000Z','task','0013_2026-01-31_12-00-00.l7omhv/check_s3_folder_exists','waiting','submitted',NULL);
INSERT INTO "history" VALUES(13,'2026-01-31T12:00:00.000000Z','task','0013_2026-01-31_12-00-00.l7omhv/create_staging_folder','waiting','submitted',NULL);
INSERT INTO "history" VALUES(14,'2026-01-31T12:00:00.000000Z','job','0013_2026-01-31_12-00-00.l7omhv','accepted','running',NULL);
INSERT INTO "history" VALUES(15,'2026-01-31T12:00:00.000000Z','attempt','dbx-nr5hwieuxjt253kdpyur','submitting','submitted',NULL);
INSERT INTO "history" VALUES(16,'2026-01-31T12:00:00.000000Z','attempt','dbx-z5ytg5s2ordki5keibui','submitting','submitted',NULL);
INSERT INTO "history" VALUES(17,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/check_s3_folder_exists','submitted','succeeded','It succeeded.');
INSERT INTO "history" VALUES(18,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/create_staging_folder','submitted','succeeded','It succeeded.');
INSERT INTO "history" VALUES(19,'2026-01-31T12:00:00.000000Z','attempt','dbx-nr5hwieuxjt253kdpyur','submitted','ended',NULL);
INSERT INTO "history" VALUES(20,'2026-01-31T12:00:00.000000Z','task','0013_2026-01-31_12-00-00.l7omhv/check_s3_folder_exists','submitted','succeeded','It succeeded.');
INSERT INTO "history" VALUES(21,'2026-01-31T12:00:00.000000Z','task','0013_2026-01-31_12-00-00.l7omhv/create_staging_folder','submitted','succeeded','It succeeded.');
INSERT INTO "history" VALUES(22,'2026-01-31T12:00:00.000000Z','attempt','dbx-z5ytg5s2ordki5keibui','submitted','ended',NULL);
INSERT INTO "history" VALUES(23,'2026-01-31T12:00:00.000000Z','attempt','dbx-w3iju4674nkyztmwpdrl',NULL,'submitting',NULL);
INSERT INTO "history" VALUES(24,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/compress_data[behavior]','waiting','submitted',NULL);
INSERT INTO "history" VALUES(25,'2026-01-31T12:00:00.000000Z','attempt','dbx-w3iju4674nkyztmwpdrl','submitting','submitted',NULL);
INSERT INTO "history" VALUES(26,'2026-01-31T12:00:00.000000Z','attempt','dbx-4rgtavxtukzzzhqv2w7t',NULL,'submitting',NULL);
INSERT INTO "history" VALUES(27,'2026-01-31T12:00:00.000000Z','task','0012_2026-01-31_12-00-00.l7omhv/compress_data[ecephys]','waiting','submitted',NULL);
INSERT INTO "history" VALUES(28,'2026-01-31T12:00:00.000000Z','drop','2',NULL,'accepted',NULL);
INSERT INTO "history" VALUES(29,'2026-01-31T12:00:00.000000Z','job','0014_2026-01-31_12-00-00.pro7ar',NULL,'accepted',NULL);
INSERT INTO "history" VALUES(30,'2026-01-31T12:00:00.000000Z','task','0014_2026-01-31_12-00-00.pro7ar/send_job_start_email','waiting','succeeded','To a@b.org.');
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
INSERT INTO "jobs" VALUES('0012_2026-01-31_12-00-00.l7omhv',1,1,2,'default','0012_2026-01-31_12-00-00','file:///bucket/0012_2026-01-31_12-00-00','ecephys','Ephys Platform','0012','2026-01-31T12:00:00-08:00',NULL,'["behavior", "ecephys"]','a@b.org','["all"]','{"job_type": "ecephys", "s3_prefix": "0012_2026-01-31_12-00-00", "bucket": "default", "location": "file:///bucket/0012_2026-01-31_12-00-00", "preset_hash": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "tasks": [{"key": "send_job_start_email", "task_id": "send_job_start_email", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "check_s3_folder_exists", "task_id": "check_s3_folder_exists", "modality": null, "needs": [], "allocation": 1, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "create_staging_folder", "task_id": "create_staging_folder", "modality": null, "needs": ["check_s3_folder_exists"], "allocation": 1, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "modality_transformation_settings", "task_id": "modality_transformation_settings", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "compress_data[behavior]", "task_id": "compress_data", "modality": "behavior", "needs": ["create_staging_folder"], "allocation": 2, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "compress_data[ecephys]", "task_id": "compress_data", "modality": "ecephys", "needs": ["create_staging_folder"], "allocation": 3, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "upload_data_to_s3", "task_id": "upload_data_to_s3", "modality": null, "needs": ["compress_data[behavior]", "compress_data[ecephys]"], "allocation": 4, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "remove_source_folders", "task_id": "remove_source_folders", "modality": null, "needs": ["upload_data_to_s3"], "allocation": null, "skip": "Not asked for.", "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "send_job_end_email", "task_id": "send_job_end_email", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}]}','running',0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "jobs" VALUES('0013_2026-01-31_12-00-00.l7omhv',1,2,3,'default','0013_2026-01-31_12-00-00','file:///bucket/0013_2026-01-31_12-00-00','ecephys','Ephys Platform','0012','2026-01-31T12:00:00-08:00',NULL,'["behavior", "ecephys"]','a@b.org','["all"]','{"job_type": "ecephys", "s3_prefix": "0013_2026-01-31_12-00-00", "bucket": "default", "location": "file:///bucket/0013_2026-01-31_12-00-00", "preset_hash": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "tasks": [{"key": "send_job_start_email", "task_id": "send_job_start_email", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "check_s3_folder_exists", "task_id": "check_s3_folder_exists", "modality": null, "needs": [], "allocation": 1, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "create_staging_folder", "task_id": "create_staging_folder", "modality": null, "needs": ["check_s3_folder_exists"], "allocation": 1, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "modality_transformation_settings", "task_id": "modality_transformation_settings", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "compress_data[behavior]", "task_id": "compress_data", "modality": "behavior", "needs": ["create_staging_folder"], "allocation": 2, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "compress_data[ecephys]", "task_id": "compress_data", "modality": "ecephys", "needs": ["create_staging_folder"], "allocation": 3, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "upload_data_to_s3", "task_id": "upload_data_to_s3", "modality": null, "needs": ["compress_data[behavior]", "compress_data[ecephys]"], "allocation": 4, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "remove_source_folders", "task_id": "remove_source_folders", "modality": null, "needs": ["upload_data_to_s3"], "allocation": null, "skip": "Not asked for.", "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "send_job_end_email", "task_id": "send_job_end_email", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}]}','running',0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z',NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "jobs" VALUES('0014_2026-01-31_12-00-00.pro7ar',2,1,2,'default','0014_2026-01-31_12-00-00','file:///bucket/0014_2026-01-31_12-00-00','ecephys','Ephys Platform','0012','2026-01-31T12:00:00-08:00',NULL,'["behavior", "ecephys"]','a@b.org','["all"]','{"job_type": "ecephys", "s3_prefix": "0014_2026-01-31_12-00-00", "bucket": "default", "location": "file:///bucket/0014_2026-01-31_12-00-00", "preset_hash": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "tasks": [{"key": "send_job_start_email", "task_id": "send_job_start_email", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "check_s3_folder_exists", "task_id": "check_s3_folder_exists", "modality": null, "needs": [], "allocation": 1, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "create_staging_folder", "task_id": "create_staging_folder", "modality": null, "needs": ["check_s3_folder_exists"], "allocation": 1, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "modality_transformation_settings", "task_id": "modality_transformation_settings", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "compress_data[behavior]", "task_id": "compress_data", "modality": "behavior", "needs": ["create_staging_folder"], "allocation": 2, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "compress_data[ecephys]", "task_id": "compress_data", "modality": "ecephys", "needs": ["create_staging_folder"], "allocation": 3, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "upload_data_to_s3", "task_id": "upload_data_to_s3", "modality": null, "needs": ["compress_data[behavior]", "compress_data[ecephys]"], "allocation": 4, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "remove_source_folders", "task_id": "remove_source_folders", "modality": null, "needs": ["upload_data_to_s3"], "allocation": null, "skip": "Not asked for.", "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}, {"key": "send_job_end_email", "task_id": "send_job_end_email", "modality": null, "needs": [], "allocation": null, "skip": null, "settings": {"job_settings": {"a": 1}}, "origin": {"a": "x"}}]}','accepted',0,'2026-01-31T12:00:00.000000Z',NULL,NULL,'2026-01-31T12:00:00.000000Z');
CREATE TABLE ledger (
    ledger_id TEXT NOT NULL,          -- written into each inbox's marker
    created   TEXT NOT NULL
);
INSERT INTO "ledger" VALUES('309b8139b0a04706993bf4488ebe5205','2026-01-31T12:00:00.000000Z');
CREATE TABLE moves (                  -- states.py has the same table; a test compares them
    kind       TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state   TEXT NOT NULL,
    PRIMARY KEY (kind, from_state, to_state)
) WITHOUT ROWID;
INSERT INTO "moves" VALUES('attempt','running','ended');
INSERT INTO "moves" VALUES('attempt','running','lost');
INSERT INTO "moves" VALUES('attempt','submitted','ended');
INSERT INTO "moves" VALUES('attempt','submitted','lost');
INSERT INTO "moves" VALUES('attempt','submitted','running');
INSERT INTO "moves" VALUES('attempt','submitting','ended');
INSERT INTO "moves" VALUES('attempt','submitting','lost');
INSERT INTO "moves" VALUES('attempt','submitting','running');
INSERT INTO "moves" VALUES('attempt','submitting','submitted');
INSERT INTO "moves" VALUES('drop','accepted','cancelled');
INSERT INTO "moves" VALUES('drop','accepted','failed');
INSERT INTO "moves" VALUES('drop','accepted','running');
INSERT INTO "moves" VALUES('drop','accepted','succeeded');
INSERT INTO "moves" VALUES('drop','running','cancelled');
INSERT INTO "moves" VALUES('drop','running','failed');
INSERT INTO "moves" VALUES('drop','running','succeeded');
INSERT INTO "moves" VALUES('drop retry','cancelled','running');
INSERT INTO "moves" VALUES('drop retry','failed','running');
INSERT INTO "moves" VALUES('drop retry','succeeded','running');
INSERT INTO "moves" VALUES('job','accepted','cancelled');
INSERT INTO "moves" VALUES('job','accepted','failed');
INSERT INTO "moves" VALUES('job','accepted','running');
INSERT INTO "moves" VALUES('job','accepted','succeeded');
INSERT INTO "moves" VALUES('job','running','cancelled');
INSERT INTO "moves" VALUES('job','running','failed');
INSERT INTO "moves" VALUES('job','running','succeeded');
INSERT INTO "moves" VALUES('job retry','cancelled','running');
INSERT INTO "moves" VALUES('job retry','failed','running');
INSERT INTO "moves" VALUES('job retry','succeeded','running');
INSERT INTO "moves" VALUES('task','running','cancelled');
INSERT INTO "moves" VALUES('task','running','failed');
INSERT INTO "moves" VALUES('task','running','skipped');
INSERT INTO "moves" VALUES('task','running','succeeded');
INSERT INTO "moves" VALUES('task','submitted','cancelled');
INSERT INTO "moves" VALUES('task','submitted','failed');
INSERT INTO "moves" VALUES('task','submitted','running');
INSERT INTO "moves" VALUES('task','submitted','skipped');
INSERT INTO "moves" VALUES('task','submitted','succeeded');
INSERT INTO "moves" VALUES('task','waiting','cancelled');
INSERT INTO "moves" VALUES('task','waiting','skipped');
INSERT INTO "moves" VALUES('task','waiting','submitted');
INSERT INTO "moves" VALUES('task','waiting','succeeded');
INSERT INTO "moves" VALUES('task retry','cancelled','waiting');
INSERT INTO "moves" VALUES('task retry','failed','waiting');
INSERT INTO "moves" VALUES('task retry','skipped','waiting');
INSERT INTO "moves" VALUES('task retry','succeeded','waiting');
CREATE TABLE needs (
    job_id TEXT NOT NULL,
    key    TEXT NOT NULL,
    needed TEXT NOT NULL,             -- key of a task that must have ended well first
    PRIMARY KEY (job_id, key, needed),
    FOREIGN KEY (job_id, key) REFERENCES tasks,
    FOREIGN KEY (job_id, needed) REFERENCES tasks (job_id, key)
) WITHOUT ROWID;
INSERT INTO "needs" VALUES('0012_2026-01-31_12-00-00.l7omhv','compress_data[behavior]','create_staging_folder');
INSERT INTO "needs" VALUES('0012_2026-01-31_12-00-00.l7omhv','compress_data[ecephys]','create_staging_folder');
INSERT INTO "needs" VALUES('0012_2026-01-31_12-00-00.l7omhv','create_staging_folder','check_s3_folder_exists');
INSERT INTO "needs" VALUES('0012_2026-01-31_12-00-00.l7omhv','remove_source_folders','upload_data_to_s3');
INSERT INTO "needs" VALUES('0012_2026-01-31_12-00-00.l7omhv','upload_data_to_s3','compress_data[behavior]');
INSERT INTO "needs" VALUES('0012_2026-01-31_12-00-00.l7omhv','upload_data_to_s3','compress_data[ecephys]');
INSERT INTO "needs" VALUES('0013_2026-01-31_12-00-00.l7omhv','compress_data[behavior]','create_staging_folder');
INSERT INTO "needs" VALUES('0013_2026-01-31_12-00-00.l7omhv','compress_data[ecephys]','create_staging_folder');
INSERT INTO "needs" VALUES('0013_2026-01-31_12-00-00.l7omhv','create_staging_folder','check_s3_folder_exists');
INSERT INTO "needs" VALUES('0013_2026-01-31_12-00-00.l7omhv','remove_source_folders','upload_data_to_s3');
INSERT INTO "needs" VALUES('0013_2026-01-31_12-00-00.l7omhv','upload_data_to_s3','compress_data[behavior]');
INSERT INTO "needs" VALUES('0013_2026-01-31_12-00-00.l7omhv','upload_data_to_s3','compress_data[ecephys]');
INSERT INTO "needs" VALUES('0014_2026-01-31_12-00-00.pro7ar','compress_data[behavior]','create_staging_folder');
INSERT INTO "needs" VALUES('0014_2026-01-31_12-00-00.pro7ar','compress_data[ecephys]','create_staging_folder');
INSERT INTO "needs" VALUES('0014_2026-01-31_12-00-00.pro7ar','create_staging_folder','check_s3_folder_exists');
INSERT INTO "needs" VALUES('0014_2026-01-31_12-00-00.pro7ar','remove_source_folders','upload_data_to_s3');
INSERT INTO "needs" VALUES('0014_2026-01-31_12-00-00.pro7ar','upload_data_to_s3','compress_data[behavior]');
INSERT INTO "needs" VALUES('0014_2026-01-31_12-00-00.pro7ar','upload_data_to_s3','compress_data[ecephys]');
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
INSERT INTO "outbox" VALUES(1,1,1,'begin','0012_2026-01-31_12-00-00.l7omhv','a@b.org',0,'2026-01-31T12:00:00.000000Z',NULL,NULL,0,NULL);
INSERT INTO "outbox" VALUES(2,1,2,'begin','0013_2026-01-31_12-00-00.l7omhv','a@b.org',0,'2026-01-31T12:00:00.000000Z',NULL,NULL,0,NULL);
INSERT INTO "outbox" VALUES(3,2,1,'begin','0014_2026-01-31_12-00-00.pro7ar','a@b.org',0,'2026-01-31T12:00:00.000000Z',NULL,NULL,0,NULL);
CREATE TABLE seen (                   -- what lay in an inbox when it was adopted and is to be left alone
    inbox  TEXT NOT NULL,
    name   TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (inbox, name, sha256)
) WITHOUT ROWID;
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
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','check_s3_folder_exists',2,'check_s3_folder_exists',NULL,1,'succeeded',1,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','It succeeded.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','compress_data[behavior]',5,'compress_data','behavior',2,'submitted',1,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','compress_data[ecephys]',6,'compress_data','ecephys',3,'submitted',1,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','create_staging_folder',3,'create_staging_folder',NULL,1,'succeeded',1,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','It succeeded.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','modality_transformation_settings',4,'modality_transformation_settings',NULL,NULL,'succeeded',0,0,NULL,NULL,'Resolved in the plan.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','remove_source_folders',8,'remove_source_folders',NULL,NULL,'skipped',0,0,NULL,NULL,'Not asked for.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','send_job_end_email',9,'send_job_end_email',NULL,NULL,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','send_job_start_email',1,'send_job_start_email',NULL,NULL,'succeeded',0,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','To a@b.org.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0012_2026-01-31_12-00-00.l7omhv','upload_data_to_s3',7,'upload_data_to_s3',NULL,4,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','check_s3_folder_exists',2,'check_s3_folder_exists',NULL,1,'succeeded',1,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','It succeeded.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','compress_data[behavior]',5,'compress_data','behavior',2,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','compress_data[ecephys]',6,'compress_data','ecephys',3,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','create_staging_folder',3,'create_staging_folder',NULL,1,'succeeded',1,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','It succeeded.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','modality_transformation_settings',4,'modality_transformation_settings',NULL,NULL,'succeeded',0,0,NULL,NULL,'Resolved in the plan.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','remove_source_folders',8,'remove_source_folders',NULL,NULL,'skipped',0,0,NULL,NULL,'Not asked for.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','send_job_end_email',9,'send_job_end_email',NULL,NULL,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','send_job_start_email',1,'send_job_start_email',NULL,NULL,'succeeded',0,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','To a@b.org.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0013_2026-01-31_12-00-00.l7omhv','upload_data_to_s3',7,'upload_data_to_s3',NULL,4,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','check_s3_folder_exists',2,'check_s3_folder_exists',NULL,1,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','compress_data[behavior]',5,'compress_data','behavior',2,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','compress_data[ecephys]',6,'compress_data','ecephys',3,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','create_staging_folder',3,'create_staging_folder',NULL,1,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','modality_transformation_settings',4,'modality_transformation_settings',NULL,NULL,'succeeded',0,0,NULL,NULL,'Resolved in the plan.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','remove_source_folders',8,'remove_source_folders',NULL,NULL,'skipped',0,0,NULL,NULL,'Not asked for.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','send_job_end_email',9,'send_job_end_email',NULL,NULL,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','send_job_start_email',1,'send_job_start_email',NULL,NULL,'succeeded',0,0,'2026-01-31T12:00:00.000000Z','2026-01-31T12:00:00.000000Z','To a@b.org.',NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
INSERT INTO "tasks" VALUES('0014_2026-01-31_12-00-00.pro7ar','upload_data_to_s3',7,'upload_data_to_s3',NULL,4,'waiting',0,0,NULL,NULL,NULL,NULL,NULL,NULL,'2026-01-31T12:00:00.000000Z');
CREATE INDEX history_of ON history (kind, id);
CREATE INDEX drops_untold ON drops (drop_id) WHERE changes > told;
CREATE UNIQUE INDEX one_live_job_per_asset ON jobs (location) WHERE state IN ('accepted', 'running');
CREATE INDEX jobs_by_time ON jobs (created);
CREATE INDEX tasks_waiting ON tasks (job_id, allocation) WHERE state = 'waiting' AND allocation IS NOT NULL;
CREATE UNIQUE INDEX one_live_attempt ON attempts (job_id, allocation)
    WHERE state IN ('submitting', 'submitted', 'running');
CREATE INDEX outbox_unsent ON outbox (mail_id) WHERE sent IS NULL;
CREATE UNIQUE INDEX one_mail_of_a_kind ON outbox (drop_id, ifnull(job_id, ''), kind, recipient, turn);
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
CREATE VIEW unreachable AS
SELECT tasks.job_id, tasks.key, min(needed.key) AS because, needed.state AS because_state
  FROM tasks
  JOIN needs ON needs.job_id = tasks.job_id AND needs.key = tasks.key
  JOIN tasks AS needed ON needed.job_id = needs.job_id AND needed.key = needs.needed
 WHERE tasks.state IN ('waiting', 'submitted') AND needed.state IN ('failed', 'cancelled')
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
CREATE TRIGGER task_told AFTER UPDATE OF state, message, progress, started, ended ON tasks
WHEN NEW.state IS NOT OLD.state OR NEW.message IS NOT OLD.message OR NEW.progress IS NOT OLD.progress
  OR NEW.started IS NOT OLD.started OR NEW.ended IS NOT OLD.ended BEGIN
    UPDATE drops SET changes = changes + 1, updated = NEW.updated
     WHERE drop_id = (SELECT drop_id FROM jobs WHERE job_id = NEW.job_id);
END;
CREATE TRIGGER job_told AFTER UPDATE OF state ON jobs WHEN NEW.state <> OLD.state BEGIN
    UPDATE drops SET changes = changes + 1, updated = NEW.updated WHERE drop_id = NEW.drop_id;
END;
CREATE TRIGGER drop_told AFTER UPDATE OF state, note ON drops
WHEN NEW.state <> OLD.state OR NEW.note IS NOT OLD.note BEGIN
    UPDATE drops SET changes = changes + 1 WHERE drop_id = NEW.drop_id;
END;
CREATE TRIGGER history_stays BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history is never changed'); END;
COMMIT;
