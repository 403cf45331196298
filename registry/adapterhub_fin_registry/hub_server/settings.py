"""How a server is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What whoever runs the server decides.

    `anonymous_read` shows what is public to those without a token; `private` is what a new repository is unless its
    maker says otherwise. Files up to `regular_limit` bytes travel within the commit, which is how clients with Xet
    can send them; larger ones, up to `upload_limit`, by LFS. `url` is the server's own, where a proxy stands before it.

    `namespace_quota` and `token_quota` are the most bytes that a namespace may hold, and that may be held of what a
    token brought. An upload that no commit names is removed after `upload_age` seconds. `rate` and `anonymous_rate` are
    the most requests a minute of a token, and of an address without one. None allows any number. `read_only` refuses
    every change.
    """

    anonymous_read: bool = False
    private: bool = True
    regular_limit: int = 512 * 2**20
    upload_limit: int = 5 * 2**30
    url: str | None = None
    namespace_quota: int | None = None
    token_quota: int | None = None
    upload_age: float = 86_400.0
    rate: int | None = None
    anonymous_rate: int | None = None
    read_only: bool = False
