"""Make the mails: the same facts give the same bytes, and no text of a manifest leaves its place in them."""

from __future__ import annotations

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from dropbox_agent.model import Mail, hash_of
from dropbox_agent.report import MailText, one_line

SUBJECT_CHARACTERS = 150
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
"""An address that means the same to every mail program; no =, ? or quotes, which could hide an encoded newline."""
NOBODY = "undisclosed-recipients:;"


def message(mail: Mail, text: MailText, sender: str, thread: str) -> EmailMessage:
    """Return the mail as it is sent or stored; the same arguments give the same bytes.

    ``thread`` is what the mails of one manifest have in common, and no other mail anywhere has.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = _sender(sender)
    message["To"] = _recipient(mail.to)
    message["Subject"] = _header(text.subject)
    message["Date"] = format_datetime(mail.created)
    message["Message-ID"] = _message_id(thread, mail.number, sender)
    if mail.number > 1:
        message["References"] = _message_id(thread, 1, sender)
        message["In-Reply-To"] = _message_id(thread, 1, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_body(text.text))
    message.add_alternative(_body(text.html), subtype="html")
    message.set_boundary("=_" + hash_of(thread, str(mail.drop_id), str(mail.number), text.text, text.html)[:40])
    return message


def _recipient(address: str) -> Address | str:
    """Return the address as a header; nobody, when it is not one plain address: the mail is still there to be read."""
    plain = address.strip()
    return Address(addr_spec=plain) if ADDRESS.fullmatch(plain) else NOBODY


def _sender(sender: str) -> Address | str:
    label, address = parseaddr(sender)
    if not ADDRESS.fullmatch(address):
        return Address(display_name=_header(sender), addr_spec="dropbox-agent@localhost")
    return Address(display_name=_header(label), addr_spec=address)


def _message_id(thread: str, number: int, sender: str) -> str:
    address = parseaddr(sender)[1]
    domain = address.rpartition("@")[2] if ADDRESS.fullmatch(address) else "localhost"
    return f"<{hash_of(thread)[:24]}.{number}@{domain}>"


def _header(text: str) -> str:
    """Return text that stays inside its header: no control characters, nothing that reads as an encoded word.

    Some Python 3.11 and 3.12 releases write a newline that hides in an encoded word (CVE-2024-6923).
    """
    return one_line(text, SUBJECT_CHARACTERS).replace("=?", "= ?")


def _body(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
