"""Names of people and organizations: others have to see them."""

from shared.errors import invalid
from shared.unseen import shows_nothing


def require_shown(**names: str) -> None:
    """Raises INVALID_ARGUMENT for a name of which nothing is seen. names: by the field of the request."""
    for field, name in names.items():
        if all(char.isspace() or shows_nothing(char) for char in name):
            raise invalid(field, "shows nothing")
