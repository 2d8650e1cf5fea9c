"""The settings of S3: how buckets there are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from dropbox_agent.settings.kinds import BucketName, Endpoint, Folder, Number, Seconds, Section, Text


class BucketAccess(Section):
    """What is different for one bucket in S3."""

    endpoint_url: Endpoint | None = Field(None, description="As in s3, for this bucket; null: the same.")
    region: Text | None = Field(None, description="As in s3, for this bucket; null: the same.")
    profile: Text | None = Field(None, description="As in s3, for this bucket; null: the same.")
    credentials_file: Folder | None = Field(None, description="As in s3, for this bucket; null: the same.")
    ca_file: Folder | None = Field(None, description="As in s3, for this bucket; null: the same.")
    addressing: Literal["auto", "path", "virtual"] | None = Field(
        None, description="As in s3, for this bucket; null: the same."
    )


class S3(Section):
    """How buckets in S3 are reached. Keys never stand here: only where they are."""

    endpoint_url: Endpoint | None = Field(
        None, description="The address of the S3 server; null: Amazon's own, or the one the profile names."
    )
    region: Text | None = Field(
        None, description="The region of the buckets; null: the profile's, or with an endpoint_url us-east-1."
    )
    profile: Text | None = Field(
        None,
        description="The profile in the AWS files that has the keys; null: the default one, AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY of the environment, or the role of the machine.",
    )
    credentials_file: Folder | None = Field(
        None,
        description="The file with the keys of the profiles, under the path it has where tasks run (nodes of a cluster"
        " do not get the agent's environment); null: ~/.aws/credentials there.",
    )
    ca_file: Folder | None = Field(
        None, description="The certificate of the authority that signed the server's; null: the well-known ones."
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="path: server/bucket; virtual: bucket.server; auto: path where an endpoint_url is set."
    )
    compare: Literal["receipts", "checksums", "content"] = Field(
        "receipts",
        description="After an upload every file is listed back; receipts: its size and ETag are compared, for the"
        " server has checked the content as it came; checksums: also the checksum it keeps; content: every byte is"
        " read back (for servers that do not check, which doctor tells).",
    )
    connections: Annotated[Number, Field(le=128)] = Field(
        16, description="How many files, or parts of files, one upload sends at a time; each takes up to 16 MB."
    )
    request_seconds: Seconds = Field(60.0, description="How long an answer to one request is waited for.")
    give_up_seconds: Seconds = Field(
        600.0, description="How long a request is tried again while the server is away or asks for patience."
    )
    deadline_hours: Seconds = Field(72.0, description="How long one upload may take at most.")
    buckets: Mapping[BucketName, BucketAccess] = Field(
        {}, description="What is different for single buckets, by their name under buckets."
    )
