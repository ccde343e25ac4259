"""Everything on one machine: keys, servers, the simulated cloud and every service."""
