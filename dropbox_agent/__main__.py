"""``python -m dropbox_agent`` is the command ``dropbox-agent``."""

from dropbox_agent.cli import main

if __name__ == "__main__":
    main()
