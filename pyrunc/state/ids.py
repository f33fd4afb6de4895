"""Container ids: what may be one.

Import cost: none.
"""

from pyrunc.errors import Error

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_LONGEST = 255  # NAME_MAX: the id is a directory's name


def check_id(id: str) -> None:
    """Refuse what cannot be a container's id: it becomes a directory below the state directory.

    Allowed are ASCII letters, digits and "_+-.", but neither "." nor "..".
    """
    if not id:
        raise Error("container id cannot be empty")
    for char in id:
        if char not in _ALLOWED:
            raise Error(f'invalid container ID format: "{id}": invalid character "{char}" in container ID')
    if id in (".", ".."):
        raise Error(f'invalid container ID format: "{id}" names a directory')
    if len(id) > _LONGEST:
        raise Error(f"invalid container ID format: longer than {_LONGEST} characters")
