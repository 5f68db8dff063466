"""Environment variables that name an ML Metadata store.

They have a module of their own because the ML Metadata client is slow to import.
"""

import re

STORE_VARIABLE = "TFX_FEEDER_STORE"
"""Store to use if ``--store`` is not given."""
PASSWORD_VARIABLE = "TFX_FEEDER_STORE_PASSWORD"
"""Password of a database server whose URL contains none."""

_CREDENTIALS = re.compile(r"^([a-z][a-z0-9+.-]*:/*[^/:@]*):.*@", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(
    r"^([a-z][a-z0-9+.-]*:.*?[?&;]\w*(?:pass|pwd)\w*)=.*", re.IGNORECASE | re.DOTALL
)


def without_password(store: str, mask: str = ":***") -> str:
    """Returns the address of a store without the password, also if it is not well-formed.

    Args:
        store: URL, or path of a file.
        mask: Text in place of the password and the colon before it.

    Example:
        >>> without_password("mysql:/me:secret@host/db")
        'mysql:/me:***@host/db'
    """
    store = _OPTION.sub(r"\1=***", store)
    return _CREDENTIALS.sub(lambda match: f"{match[1]}{mask}@", store)
