"""``[plugins.ntlm-auth]``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class NtlmAuthConfig(BaseModel):
    """``[plugins.ntlm-auth]``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True)

    command: list[str] = Field(default=["ntlm_auth"], min_length=1)
    """Samba's ntlm_auth, with options of your own; those of the helper protocol are added."""

    helpers: Annotated[int, Field(ge=1, le=64)] = 4
    """How many of them run at most, each for one question at a time. They stay."""

    domain: str = ""
    """The domain of users who name none; empty: that of Samba's configuration."""

    require_membership_of: str = ""
    """A group, as SID or name, of which users must be members; empty: none."""

    timeout: Annotated[float, Field(gt=0, le=60, strict=False)] = 8.0
    """Seconds for an answer; at most nine tenths of ``[authentication] timeout`` are used."""

    unavailable: Literal["reject", "next"] = "reject"
    """When the domain cannot be asked: refuse the call, or ask the next plugin."""

    def same_helpers(self, other: "NtlmAuthConfig") -> bool:
        """Whether the same processes serve both."""
        return (self.arguments(), self.helpers) == (other.arguments(), other.helpers)

    def arguments(self) -> list[str]:
        """The command with every option."""
        membership = [f"--require-membership-of={self.require_membership_of}"] if self.require_membership_of else []
        return [*self.command, "--helper-protocol=ntlm-server-1", "--allow-mschapv2", *membership]
