"""dropbox-agent: drop a filled spreadsheet into a folder; the data is checked, uploaded, verified, and answered for."""

from dropbox_agent.model import SubmitRequest, Task, UploadJob

__all__ = ["SubmitRequest", "Task", "UploadJob"]
