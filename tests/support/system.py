"""The whole system as processes, for e2e and chaos tests. Filled in with `gyrostat_local`."""
