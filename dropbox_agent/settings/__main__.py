"""Write config/agent.yaml and docs/settings.md anew from the settings (``make docs``)."""

from pathlib import Path

from dropbox_agent.settings import Settings, as_markdown, as_yaml

if __name__ == "__main__":
    Path("config/agent.yaml").write_text(as_yaml(Settings()), encoding="utf-8")
    Path("docs/settings.md").write_text(as_markdown(), encoding="utf-8")
