"""Implements ClusterBooks: the record in the journal, and the store's copy of it.

The journal decides: a change is a compare-and-set on the record's own subject, and is copied to
the store only once it is journaled. So whoever reads the store reads what is durable. A store
that was emptied or is behind gets the copy again, and a journal that was lost gets it back from
the store: of the two, the higher revision counts. Where both were lost at once, a replica that
still knows the record writes it down again.
"""

from __future__ import annotations

from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.clusters import Cluster
from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.messages.subjects import journal_cluster_subject, journal_stream
from shared.store.cluster_records import CLUSTER_NOUN, decode_cluster, encode_cluster
from shared.store.keys import lease_key

from .journal_books import NO_MESSAGE, TIMEOUT_S, WRONG_LAST_SEQUENCE
from .pipeline import ScriptPipeline

_NOTHING: Final = 0  # the sequence of a subject without a message


class DurableClusterBooks:
    """The record of one cluster in its two places."""

    def __init__(self, nats: Client, store: Redis, cluster: ClusterName) -> None:
        self._js = nats.jetstream(timeout=TIMEOUT_S)
        self._stream = journal_stream(cluster)
        self._subject = journal_cluster_subject(cluster)
        self._store = store
        self._key = lease_key(cluster, CLUSTER_NOUN)
        self._scripts = ScriptPipeline(store)

    async def settle(self, known: Cluster | None) -> Cluster | None:
        sequence, journaled = await self._journaled()
        copied = await self._copied()
        if journaled is None and copied is None:
            copied = known
        if copied is not None and (journaled is None or journaled.revision < copied.revision):
            if not await self._journal(copied, after=sequence):
                return await self.settle(known)  # another replica was first
            return copied
        if journaled is not None and (copied is None or copied.revision < journaled.revision):
            await self._copy(journaled)
        return journaled

    async def write(self, cluster: Cluster) -> bool:
        sequence, journaled = await self._journaled()
        before = 0 if journaled is None else journaled.revision
        if before != cluster.revision - 1 or not await self._journal(cluster, after=sequence):
            return False
        await self._copy(cluster)
        return True

    async def _journaled(self) -> tuple[int, Cluster | None]:
        try:
            stored = await self._js.get_last_msg(self._stream, self._subject)
        except nats.js.errors.NotFoundError as error:
            if error.err_code == NO_MESSAGE:
                return _NOTHING, None
            raise Unavailable(f"the journal: {error}") from error
        except (nats.js.errors.APIError, nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        assert stored.seq is not None, "a stored message has a sequence"
        return stored.seq, decode_cluster(stored.data or b"")

    async def _journal(self, cluster: Cluster, *, after: int) -> bool:
        """False: somebody else wrote since."""
        try:
            await self._js.publish(
                self._subject,
                encode_cluster(cluster).encode(),
                headers={"Nats-Expected-Last-Subject-Sequence": str(after)},
            )
        except nats.js.errors.APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return False
            raise Unavailable(f"the journal: {error}") from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        return True

    async def _copied(self) -> Cluster | None:
        try:
            body = await self._store.get(self._key)
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return None if body is None else decode_cluster(body)

    async def _copy(self, cluster: Cluster) -> None:
        await self._scripts.run(
            "keep_cluster", [self._key], [encode_cluster(cluster), cluster.revision]
        )
