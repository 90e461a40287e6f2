"""The key store that the configuration names."""

from services.access_control.config import KeyStoreChoice, Pkcs11Token
from services.access_control.key_stores import KeyStore
from services.access_control.key_stores.files import FileKeyStore


def open_key_store(choice: KeyStoreChoice) -> KeyStore:
    """A directory of files, or a PKCS#11 token. Raises KeyStoreError when it cannot be used."""
    if isinstance(choice, Pkcs11Token):
        # Here, so that who keeps keys in files needs no PKCS#11 bindings.
        from services.access_control.key_stores.pkcs11 import Pkcs11KeyStore

        return Pkcs11KeyStore(choice.module, choice.token, choice.pin_file)
    return FileKeyStore(choice)
