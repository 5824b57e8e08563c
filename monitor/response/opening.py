"""Opens a person's credential for the one call that must name it; nothing else ever holds the raw id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from monitor.intake.handles import HandleError
from monitor.intake.keys import load_opener
from monitor.intake.pseudonym import CREDENTIAL_KEY_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.settings import Settings
    from monitor.wire.credentials import CredentialRecord


def opener_of(settings: Settings) -> Callable[[CredentialRecord], CredentialRecord]:
    """Return what gives a record as its gateway knows it: `id` is the raw one, the handle is gone.

    It raises HandleError for a person's credential whose handle is missing or does not open. Raises
    ConfigurationError where the key file cannot be used.
    """
    path = settings.privacy.handle_key_file
    opener = None if path is None else load_opener(path)

    def opened(record: CredentialRecord) -> CredentialRecord:
        if not record.id.startswith(f"{CREDENTIAL_KEY_ID}:"):
            return record
        if record.handle is None:
            raise HandleError(
                "the gateway cannot be told which credential is meant: intake sealed no handle; add a key"
                " with `monitor keys handles`"
            )
        if opener is None:
            raise HandleError(
                "the gateway cannot be told which credential is meant: its handle is sealed; set"
                " privacy.handle_key_file where the role enforce runs"
            )
        return msgspec.structs.replace(record, id=opener.open(record.subject, record.handle), handle=None)

    return opened
