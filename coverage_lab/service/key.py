"""The API key: compared in constant time, and not kept."""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import Request

from coverage_lab.service.refusal import RefusalError


class KeyCheck:
    """Lets requests with the right key pass.

    Parameters
    ----------
    api_key : str
        Only its SHA-256 is kept.
    """

    def __init__(self, api_key: str) -> None:
        self._digest = hashlib.sha256(api_key.encode()).digest()

    def __call__(self, request: Request) -> None:
        """Check a request's `Authorization` header.

        Raises
        ------
        RefusalError
            401: the header is missing, of another scheme, or has another key.
        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("latin-1")).digest()
        if not hmac.compare_digest(digest, self._digest) or scheme.lower() != "bearer":
            raise RefusalError(
                401,
                "unauthorized",
                "expected the header 'Authorization: Bearer KEY' with this service's key",
                headers={"WWW-Authenticate": "Bearer"},
            )
