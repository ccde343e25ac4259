"""ClusterSource: the store's copy of the cluster's record, which the allocator keeps."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.clusters import Cluster
from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.store.cluster_records import CLUSTER_NOUN, decode_cluster
from shared.store.keys import lease_key


class RedisCluster:
    """Implements ClusterSource."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._key = lease_key(cluster, CLUSTER_NOUN)

    async def read(self) -> Cluster | None:
        try:
            body = await self._store.get(self._key)
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        return None if body is None else decode_cluster(body)
