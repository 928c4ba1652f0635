"""The seven ports: what an adapter implements, and the values that cross them. Nothing here imports a vendor."""
