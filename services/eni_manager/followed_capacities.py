"""What operators have set of capacities, read again and again: changes are followed live."""

from __future__ import annotations

from services.eni_manager.domain.capacities import Capacities, annotation_scope
from services.eni_manager.domain.ports import CapacityStore
from services.eni_manager.domain.records import NodeRecord
from services.eni_manager.domain.releases import ReleasePace
from services.eni_manager.domain.watermarks import Watermarks
from shared.capacities import CapacityWish, CloudCalls
from shared.errors import InvalidInput
from shared.ids import NodeName


class FollowedCapacities:
    def __init__(self, store: CapacityStore, defaults: CapacityWish) -> None:
        self._store = store
        self.defaults = defaults
        self.current = Capacities()

    async def refresh(self) -> None:
        self.current = await self._store.read()

    @property
    def calls(self) -> CloudCalls:
        return self.current.calls

    @property
    def gives_back(self) -> bool:
        return self.current.calls is CloudCalls.ALL

    def marks(self, node: NodeRecord, *, pods_max: int | None) -> Watermarks:
        wish = self._of(node)
        return Watermarks(
            warm_min=wish.warm_min or 0, warm_max=wish.warm_max or 0, pods_max=pods_max
        )

    def whole_marks(self, node: NodeRecord, *, otherwise: Watermarks) -> Watermarks:
        """Of ENIs that one pod has as a whole."""
        wish = self._of(node)
        if wish.whole_min is None or wish.whole_max is None:
            return otherwise
        return Watermarks(warm_min=wish.whole_min, warm_max=wish.whole_max)

    def is_unmanaged(self, node: NodeRecord) -> bool:
        """Somebody wants nothing to be called for the node."""
        return bool(self._of(node).is_unmanaged)

    def enis_max(self, node: NodeRecord) -> int | None:
        """Ours on the node; None: as many as its quota allows."""
        return self._of(node).enis_max

    def addresses_per_eni_max(self, node: NodeRecord) -> int | None:
        return self._of(node).addresses_per_eni_max

    def has_no_groups(self, node: NodeRecord) -> bool:
        """Somebody wants its ENIs to be without security groups."""
        return bool(self._of(node).has_no_groups)

    async def annotate(self, node: NodeName, wish: CapacityWish) -> None:
        """What the node's annotations say now; nothing is written when they say the same."""
        scope = annotation_scope(node)
        if self.current.scopes.get(scope, CapacityWish()) != wish:
            await self._store.put(scope, wish)
            await self.refresh()

    def release(self, node: NodeRecord) -> ReleasePace:
        return ReleasePace(every_s=self._of(node).release_every_s or 0.0)

    async def set(
        self, scope: str, capacity: CapacityWish | None, calls: CloudCalls | None
    ) -> None:
        """Raises InvalidInput for a minimum above the maximum of the same scope."""
        if capacity is not None:
            low, high = capacity.warm_min, capacity.warm_max
            if low is not None and high is not None and low > high:
                raise InvalidInput.of("warm_min", low, f"0 to {high}, the warm_max of {scope}")
            await self._store.put(scope, capacity)
        if calls is not None:
            await self._store.put_calls(calls)
        await self.refresh()

    def _of(self, node: NodeRecord) -> CapacityWish:
        own = CapacityWish(warm_min=node.warm_min, warm_max=node.warm_max)
        return self.current.of_node(self.defaults, node.node, node.group, own)
