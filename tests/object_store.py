"""An S3 server on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "flowers"


@contextmanager
def running_object_store() -> Iterator[Mapping[str, str]]:
    """Serve a bucket; yield the environment variables by which clients find it."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            S3FileSystem.clear_instance_cache()
            S3FileSystem().makedirs(BUCKET, exist_ok=True)
            yield variables
    finally:
        S3FileSystem.clear_instance_cache()
        server.stop()
