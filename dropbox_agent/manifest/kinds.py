"""What kind of file this is, by its first bytes: a name may say anything."""

from __future__ import annotations

import re

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP = b"PK\x03\x04"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
"""The stream that holds an encrypted workbook inside an OLE file."""
HTML = re.compile(rb"\s*(<!doctype html|<html|<table|<\?xml)", re.IGNORECASE)


def mislabelled(content: bytes, suffix: str) -> str | None:
    """Return what a file is, in words and with what to do, when it is not what its name says."""
    if content.startswith(OLE[:4]):
        return _ole(content)
    if content.startswith(b"%PDF-"):
        return "This is a PDF. Save the table itself, as .xlsx or CSV UTF-8."
    if suffix == ".xlsx":
        return None if content.startswith(b"PK") else _no_workbook(content)
    if content.startswith(ZIP):
        return f"This is an Excel workbook, or another zip file, with a name ending in {suffix}. Name it .xlsx."
    if suffix == ".csv" and HTML.match(content):
        return "This is a web page or XML with a name ending in .csv. Open it in Excel and save it as CSV UTF-8."
    return None


def _ole(content: bytes) -> str:
    if ENCRYPTED in content:
        return "This workbook is encrypted, so it cannot be read. Save it as .xlsx without a password."
    return "This workbook is in the old .xls form, whatever its name says. Save it as .xlsx."


def _no_workbook(content: bytes) -> str | None:
    if HTML.match(content):
        return "This is a web page or XML with a name ending in .xlsx. Open it in Excel and save it as .xlsx."
    if b"\0" not in content and any(mark in content for mark in b",;\t"):
        return "This is text with a name ending in .xlsx, not an .xlsx workbook. If it is a csv, name it .csv."
    return None
