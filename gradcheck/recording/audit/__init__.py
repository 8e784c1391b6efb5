"""Directional derivatives of the loss against the gradient: what no graph shows, asked of the numbers."""
