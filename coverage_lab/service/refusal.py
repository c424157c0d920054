"""Why a request was refused, in the one form that every error of the service has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RefusalError(Exception):
    """A request that is not answered.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        For programs; stays the same between versions.
    message : str
        For people, one line; never repeats prompt text.
    headers : dict of str to str
        Sent along.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self) -> bytes:
        """The JSON that is sent."""
        return ErrorAnswer(error=Problem(code=self.code, message=self.message)).model_dump_json().encode()


class Problem(BaseModel):
    """What is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(
        description="For programs; stays the same between versions.", examples=["invalid_request"]
    )
    message: str = Field(
        description="For people; never repeats prompt text.",
        examples=["accounts.0.prompts: expected at least one item"],
    )


class ErrorAnswer(BaseModel):
    """Body of every answer that is not 200."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: Problem
