"""What every value of the lab's files has in common: frozen, and no key that nobody knows."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
