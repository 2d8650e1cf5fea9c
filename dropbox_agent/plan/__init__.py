"""Job and presets -> plan: the pipeline's order, the merged settings of every task, and what each waits for.

``pipeline`` is the order, one visible table; ``merging`` lays presets and manifest over one another; ``expansion``
makes the plan; ``script`` fills the shell scripts of presets, ``containers`` says which of them run in an image,
``arrays`` which run once for each element; ``resources`` says what a task asks of a cluster; ``handover`` says what it
is given on its node.
"""

from dropbox_agent.plan.arrays import Array, array_of, in_ranges
from dropbox_agent.plan.containers import NO_CONTAINERS, Containers, images_of
from dropbox_agent.plan.expansion import expand, preset_script_faults
from dropbox_agent.plan.handover import Context, task_settings
from dropbox_agent.plan.merging import DEFAULT, TASK_FIELDS, is_task, kind, merged, preset_layers
from dropbox_agent.plan.paths import folders_of, is_windows, map_path
from dropbox_agent.plan.pipeline import BY_MODALITY, DONE_IN_THE_PLAN, PIPELINE, Service, Step, task_ids
from dropbox_agent.plan.resources import copies as log_copies
from dropbox_agent.plan.resources import environment as resource_environment
from dropbox_agent.plan.resources import options as resource_options
from dropbox_agent.plan.resources import problems as resource_problems
from dropbox_agent.plan.resources import starts_in
from dropbox_agent.plan.retries import LONGEST_WAIT, Again, again, read_retries, unsaid_in
from dropbox_agent.plan.script import Unrenderable, render_script, script_faults
from dropbox_agent.plan.stored import from_json, plan_hash, to_json

__all__ = [
    "BY_MODALITY",
    "DEFAULT",
    "DONE_IN_THE_PLAN",
    "LONGEST_WAIT",
    "NO_CONTAINERS",
    "PIPELINE",
    "TASK_FIELDS",
    "Again",
    "Array",
    "Containers",
    "Context",
    "Service",
    "Step",
    "Unrenderable",
    "again",
    "array_of",
    "expand",
    "folders_of",
    "from_json",
    "images_of",
    "in_ranges",
    "is_task",
    "is_windows",
    "kind",
    "log_copies",
    "map_path",
    "merged",
    "plan_hash",
    "preset_layers",
    "preset_script_faults",
    "read_retries",
    "render_script",
    "resource_environment",
    "resource_options",
    "resource_problems",
    "script_faults",
    "starts_in",
    "task_ids",
    "task_settings",
    "to_json",
    "unsaid_in",
]
