from tests.pipelines.storage.conftest import address, server

__all__ = ["address", "server"]
