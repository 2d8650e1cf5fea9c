-- Lists of jobs are read from an index of their own: a job's row also has its plan, which is long, and a list of
-- 100,000 jobs must not read 100,000 plans.
CREATE INDEX jobs_listed ON jobs (created DESC, position, job_id, state, s3_prefix, subject_id, project_name, job_type,
    modalities, user_email, drop_id, platform, bucket, acq_datetime, started, ended, row);
CREATE INDEX jobs_of_drop ON jobs (drop_id, state);
DROP INDEX jobs_by_time;
