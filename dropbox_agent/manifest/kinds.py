"""What kind of file this is, by its first bytes: a name may say anything."""

from __future__ import annotations

import re
from collections.abc import Collection
from types import MappingProxyType

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ZIP = b"PK\x03\x04"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
"""The stream that holds an encrypted workbook inside an OLE file."""
HTML = re.compile(rb"\s*(<!doctype html|<html|<table|<\?xml)", re.IGNORECASE)
SAVE_AS = 'Open it where it was made, and save it as "Excel Workbook (.xlsx)".'
PARTS = MappingProxyType(
    {
        "xl/workbook.bin": f"This is a binary workbook (.xlsb). {SAVE_AS}",
        "content.xml": f"This is a file of LibreOffice (.ods). {SAVE_AS}",
        "word/document.xml": "This is a document of Word. Put the table into a workbook, and save that as .xlsx.",
        "ppt/presentation.xml": "This is a presentation. Put the table into a workbook, and save that as .xlsx.",
        "Index/Document.iwa": "This is a file of Numbers. In Numbers: File, Export To, Excel.",
    }
)
"""A part that only one kind of zipped document has -> what that is, and what to do."""
STRICT = b"http://purl.oclc.org/ooxml/spreadsheetml"


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
    if content.startswith(b"{\\rtf"):
        return "This is formatted text (RTF). Save the table itself, as .xlsx or CSV UTF-8."
    if HTML.match(content):
        how = "Open it in Excel and save it as CSV UTF-8" if suffix == ".csv" else "Save the text itself"
        return f"This is a web page or XML with a name ending in {suffix}. {how}."
    return None


def no_workbook(names: Collection[str], workbook: bytes) -> str | None:
    """Return what a zip file is by the names of its parts and the beginning of its main one; None for a workbook."""
    if "xl/workbook.xml" in names:
        if STRICT not in workbook:
            return None
        return f'This workbook is in the strict form of .xlsx ("Strict Open XML Spreadsheet"). {SAVE_AS}'
    known = next((words for name, words in PARTS.items() if name in names), None)
    if known is None and "[Content_Types].xml" not in names:
        return "This is a zip file, but no workbook. Take the workbook out of it, and put that here."
    return known


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
