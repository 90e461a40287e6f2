"""Names of people, organizations and providers: others have to see them."""

from shared.errors import invalid
from shared.unseen import shows_nothing


def is_shown(name: str) -> bool:
    """Whether anything is seen of a name."""
    return not all(char.isspace() or shows_nothing(char) for char in name)


def require_shown(**names: str) -> None:
    """Raises INVALID_ARGUMENT for a name of which nothing is seen. names: by the field of the request."""
    for field, name in names.items():
        if not is_shown(name):
            raise invalid(field, "shows nothing")
