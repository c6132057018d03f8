"""The only module that knows boto3, which comes with `warmstate[aws]`."""

from __future__ import annotations

from typing import Any

from warmstate.errors import ConfigurationError

__all__ = ["client", "local_client"]


def client(service: str, *, profile: str | None = None, **options: Any) -> Any:
    """
    Make a client for AWS itself; `options` are those of boto3's `client`.

    Raises:
        ConfigurationError: boto3 is not installed.
    """
    try:
        import boto3
    except ModuleNotFoundError:
        raise ConfigurationError("boto3 is not installed: pip install 'warmstate[aws]'") from None
    session: Any = boto3.Session(profile_name=profile)  # its stubs want the service's name as a literal
    return session.client(service, **options)


def local_client(service: str, url: str, **options: Any) -> Any:
    """Make a client for the emulator at `url`, which asks for no account."""
    account = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
    return client(service, **{"endpoint_url": url, **account, **options})
