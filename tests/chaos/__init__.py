"""The whole system under faults: workloads, nemeses, and checkers over what was recorded."""
