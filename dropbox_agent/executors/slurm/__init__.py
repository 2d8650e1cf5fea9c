"""Run attempts on a Slurm cluster: one Slurm job each, named by the attempt's key.

``executor`` decides; ``commands`` is the way to the cluster (sbatch, squeue), ``jobs`` what goes along it; ``refusals``
tells why sbatch did not take a job; ``states`` puts what squeue shows into sentences.
"""

from dropbox_agent.executors.slurm.commands import SlurmCommands
from dropbox_agent.executors.slurm.executor import Asked, SlurmExecutor
from dropbox_agent.executors.slurm.jobs import JobRequest, SlurmJob, Unanswered

__all__ = ["Asked", "JobRequest", "SlurmCommands", "SlurmExecutor", "SlurmJob", "Unanswered"]
