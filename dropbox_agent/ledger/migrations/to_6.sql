DROP VIEW unreachable;
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
