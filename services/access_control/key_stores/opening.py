"""From what the configuration says to a key store."""

from pathlib import Path

from services.access_control.key_stores import KeyStore, KeyStoreError
from services.access_control.key_stores.files import FileKeyStore
from shared.config import ConfigError


def open_key_store(location: str) -> KeyStore:
    """The key store at a location: so far always a directory. Raises ConfigError when it cannot be used."""
    try:
        return FileKeyStore(Path(location))
    except KeyStoreError as error:
        raise ConfigError(f"key_store: {error}") from error
