"""One look at an inbox: which names may be manifests, which never are, which order something."""

from __future__ import annotations

import codecs
import logging
import os
import stat
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from dropbox_agent.errors import InboxUnavailable
from dropbox_agent.inbox.files import Signature, open_regular, signature

logger = logging.getLogger(__name__)

SKIPPED_PREFIXES = (".", "~", "#")
"""Hidden files, Office and LibreOffice locks and temporary files, editors' autosaves."""
ORDERS = ("retry", "cancel")
"""What an empty file beside a manifest may order by its ending: ``session.xlsx.retry``."""
BLANK_BYTES = 1024
"""A file of more is not looked into for whether it says anything."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class NameRules:
    """Which names in an inbox mean something."""

    suffixes: Collection[str]
    is_ours: Callable[[str], bool]
    """Says of a name whether the agent itself writes files of that name."""
    is_temporary: Callable[[str], bool] = lambda name: False
    """Says of a name whether it is one under which the agent begins to write a file."""
    order_beside: Callable[[str, str], str] = lambda manifest, act: f"{manifest}.{act}"
    """Says what the file of an order is called: a long name is shortened for it."""

    def is_candidate(self, name: str) -> bool:
        """Return whether a file of that name is looked at: a manifest's suffix, no lock or temporary name, not ours."""
        if is_passed_over(name) or self.is_ours(name):
            return False
        return Path(name).suffix.lower() in self.suffixes

    def order_in(self, name: str) -> tuple[str, str] | None:
        """Return manifest and act of ``session.xlsx.retry`` or ``session.xlsx.cancel``, else None."""
        manifest, _, act = name.rpartition(".")
        if act not in ORDERS or Path(manifest).suffix.lower() not in self.suffixes or _label(name) != name:
            return None
        return manifest, act


@dataclass
class Listing:
    """What one complete listing found."""

    files: dict[str, Signature] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    """Names that were listed and whose facts did not arrive -> what came back: waited for, not taken as gone."""
    refused: dict[str, str] = field(default_factory=dict)
    """Name -> why a file with a manifest's suffix, or that of an order, is never taken as it is."""
    orders: dict[str, tuple[str, str]] = field(default_factory=dict)
    """File -> (manifest, act)."""
    unclear: set[str] = field(default_factory=set)
    """Files that end like an order, and begin like no manifest."""
    temporary: list[str] = field(default_factory=list)
    """Files that the agent began to write."""


def listing(folder: Path, rules: NameRules) -> Listing:
    """Return what lies in a folder. Raises InboxUnavailable when it cannot be listed to its end."""
    found = Listing()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _look_at(entry, rules, found)
    except OSError as error:
        raise InboxUnavailable(
            f"The inbox {folder} could not be listed: {error.strerror}. It is tried again at the next scan."
        ) from error
    _refuse_look_alikes(found)
    for manifest in found.files if found.unclear else ():
        for act in ORDERS:
            if (file := rules.order_beside(manifest, act)) in found.unclear:
                found.orders[file] = (manifest, act)
    _refuse_orders_with_content(folder, found)
    return found


def says_nothing(path: Path) -> bool:
    """Return whether a file is empty, or has only what an editor leaves in an empty one. Raises OSError."""
    size = os.lstat(path).st_size
    if not 0 < size <= BLANK_BYTES:
        return size == 0
    try:
        with open_regular(path) as file:
            content = file.read(BLANK_BYTES + 1)
    except FileNotFoundError:  # On a share its facts may be old: it was taken away.
        raise
    except OSError:
        return False
    return not content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig", "replace").strip()


def _refuse_orders_with_content(folder: Path, found: Listing) -> None:
    """Take out files that are named like orders and say something: somebody's work, which obeying would remove."""
    for name in sorted(found.orders):
        try:
            if says_nothing(folder / name):
                continue
        except OSError as error:
            logger.debug("%s: %s", folder / name, error)
        else:
            found.refused[name] = (
                "It is not empty, so it orders nothing and is left as it is. Save what it holds under another name, "
                "then put an empty file of this name here."
            )
        del found.orders[name]


def _refuse_look_alikes(found: Listing) -> None:
    """Take out names that are one name to Windows or macOS: which of them is meant cannot be told by looking."""
    alike: dict[str, list[str]] = {}
    for name in (*found.files, *found.unread):
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for names in (names for names in alike.values() if len(names) > 1):
        for name in names:
            other = next(one for one in sorted(names) if one != name)
            found.refused[name] = f"There is {other!a} here too, which is the same name to other computers. Rename one."
            found.files.pop(name, None)
            found.unread.pop(name, None)


def _look_at(entry: os.DirEntry[str], rules: NameRules, found: Listing) -> None:
    if rules.is_temporary(entry.name):
        found.temporary.append(entry.name)
    order = rules.order_in(entry.name)
    if order is not None and _is_plain(entry):
        found.orders[entry.name] = order
    elif entry.name.rpartition(".")[2] in ORDERS and _is_plain(entry):
        found.unclear.add(entry.name)
    if not rules.is_candidate(entry.name):
        return
    label = _label(entry.name)
    if label != entry.name:
        found.refused[label] = "Its name is not UTF-8. Rename it with plain letters."
        return
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError as error:
        logger.debug("%s: %s", entry.path, error)
        found.unread[entry.name] = error.strerror or str(error)
        return
    if not stat.S_ISREG(facts.st_mode):
        found.refused[entry.name] = (
            "It is not a plain file (a link, folder, pipe or device). Copy the file itself here."
        )
        return
    found.files[entry.name] = signature(facts)


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a plain file, as far as can be told now."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _label(name: str) -> str:
    """Return a name as text: its own where it is UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_passed_over(name: str) -> bool:
    """Return whether a file of that name is never looked at, whoever put it there."""
    return name.startswith(SKIPPED_PREFIXES) or ":" in name
